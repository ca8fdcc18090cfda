"""Sabotages of a promotion: each is refused or recovered with the right message, and the old generation serves on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from trident.config import apply_override
from trident.errors import GenerationError, ServerError
from trident.generation.generation import Generation, Identity, generation_by_id, write_manifest
from trident.generation.golden import save_golden
from trident.generation.state import ServingFolder
from trident.index.index import IndexConfig, VectorIndex
from trident.index.ways import Cuts
from trident.probe.golden_check import check_golden, check_serving
from trident.probe.running import find_running
from trident.promotion.gating import gate_of
from trident.promotion.promotion import PromoteOptions, promote, retire
from trident.quality.gate_report import GateError
from trident.search.searcher import Searcher
from trident.server.server import TritonServer
from trident_client import ClientError, SearchClient


@pytest.fixture
def b(own: Any, pair: Any) -> Generation:
    """Return generation b as it was exported, free to be damaged."""
    shutil.rmtree(own.b.folder, ignore_errors=True)
    shutil.copytree(pair.b.folder, own.b.folder)
    return generation_by_id(own.folder, own.b.id)


@contextmanager
def served_throughout(server: TritonServer, own: Any) -> Iterator[None]:
    """Ask all the time: every answer must be of generation a, and right at the end; nothing may stay loaded."""
    stopped = threading.Event()
    seen: list[str] = []

    def ask() -> None:
        with SearchClient(server.urls.grpc) as client:
            while not stopped.is_set():
                try:
                    seen.append(client.search("navy sofa", k=3).generation)
                except ClientError as error:
                    seen.append(str(error))
                time.sleep(0.005)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
        deadline = time.monotonic() + 10
        enough = len(seen) + 3  # some of them afterwards
        while len(seen) < enough and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        stopped.set()
        thread.join()
    assert len(seen) >= 3
    assert set(seen) == {own.a.id}
    report = check_serving(own.folder, server.urls.http)
    assert report.generation == own.a.id
    assert report.passed
    control = find_running(own.folder, server.config.http_port).control
    for model in ("pipeline", "search", "embed"):
        for _ in range(200):  # unloading takes a moment
            if control.loaded(model) == {own.a.serial}:
                break
            time.sleep(0.05)
        assert control.loaded(model) == {own.a.serial}
    assert control.loaded("candidate") == set()


def refusal(server: TritonServer, own: Any, generation: str, **options: Any) -> str:
    """Return what a promotion says that must not happen."""
    folder = ServingFolder.of(own.folder, server.config.http_port)
    before = folder.state()
    with served_throughout(server, own), pytest.raises((GenerationError, GateError, ServerError)) as caught:
        promote(
            own.folder,
            server.config.http_port,
            generation,
            PromoteOptions(**options),
            report=lambda _: None,
        )
    assert folder.state() == before
    event = folder.history()[-1]
    assert event.outcome == ("refused" if isinstance(caught.value, GateError) else "failed")
    assert (event.target, event.reason) == (generation, str(caught.value))
    return str(caught.value)


def hide(generation: Generation, **changes: Any) -> None:
    """Write the manifest anew, as somebody would who hides what was changed."""
    table = json.loads((generation.folder / "manifest.json").read_text())
    for key, value in changes.items():
        apply_override(table, f"{key}={value}")
    path = generation.folder / "manifest.json"
    path.write_text(json.dumps(table))
    manifest = Generation.load(generation.folder).manifest
    path.unlink()
    write_manifest(generation.folder, manifest)


def test_index_of_another_encoder(server: TritonServer, own: Any, b: Generation) -> None:
    other = own.a.version_folder("retriever")
    for path in other.glob("index*"):
        shutil.copyfile(path, b.version_folder("retriever") / path.name)
    assert "model_repository/retriever/1/index" in refusal(server, own, b.id)
    hide(b)
    message = refusal(server, own, b.id)
    assert message.startswith(f"generation {b.id} cannot be loaded: tritonserver at {server.urls.grpc} refused ")
    assert "At:" not in message
    encoders = [generation.manifest.encoder_fingerprint[:12] for generation in (own.a, b)]
    assert (
        f"generation {b.id} (serial {b.serial}, encoder {encoders[1]}) must have an index of its own encoder, got one "
        f"of encoder {encoders[0]}, that of generation {own.a.id} (serial {own.a.serial}) ("
    ) in message


def test_codes_of_another_index(server: TritonServer, own: Any, b: Generation) -> None:
    """The integers are those of other vectors, and every record says that they belong here: the answers tell."""
    folder, other = b.version_folder("retriever"), own.a.version_folder("retriever")
    for name in ("codes.npy", "scales.npy"):
        shutil.copyfile(other / name, folder / name)
    assert "model_repository/retriever/1/codes.npy" in refusal(server, own, b.id)
    hide(b)
    assert "codes.npy was changed: sha256 must be " in refusal(server, own, b.id)
    record, theirs = (json.loads((each / "index.json").read_text()) for each in (folder, other))
    for name in ("codes.npy", "scales.npy"):
        record["files"][name] = theirs["files"][name]
    (folder / "index.json").write_text(json.dumps(record))
    hide(b)
    message = refusal(server, own, b.id)
    assert "golden" in message, message


def test_swapped_tokenizer(server: TritonServer, own: Any, b: Generation) -> None:
    path = b.version_folder("tokenizer") / "tokenizer.json"
    table = json.loads(path.read_text())
    vocabulary = table["model"]["vocab"]
    words = [word for word in vocabulary if len(word) > 2 and word.isalpha()]
    numbers = [vocabulary[word] for word in words]
    vocabulary |= dict(zip(words, [*numbers[1:], numbers[0]], strict=True))
    path.write_text(json.dumps(table))
    assert "model_repository/tokenizer/1/tokenizer.json" in refusal(server, own, b.id)
    hide(b)
    assert "the tokenizer and the text contract beside it must be encoder" in refusal(server, own, b.id)


def test_edited_text_contract(server: TritonServer, own: Any, b: Generation) -> None:
    path = b.version_folder("tokenizer") / "text.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "query_template": "lamp lamp lamp {text}"}))
    assert "model_repository/tokenizer/1/text.json" in refusal(server, own, b.id)
    hide(b)
    assert "the tokenizer and the text contract beside it must be encoder" in refusal(server, own, b.id)


def test_truncated_index(server: TritonServer, own: Any, b: Generation) -> None:
    path = max(b.version_folder("retriever").glob("index*"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "it was changed or cut off; export again" in refusal(server, own, b.id)
    hide(b)
    assert refusal(server, own, b.id).startswith(f"generation {b.id} cannot be loaded: ")


def test_words_of_something_else(server: TritonServer, own: Any, b: Generation) -> None:
    arrays, record = (b.version_folder("retriever") / name for name in ("lexical.arrays", "lexical.json"))
    whole, said = arrays.read_bytes(), json.loads(record.read_text())
    arrays.write_bytes(whole[:-100])
    assert "lexical.arrays must have" in refusal(server, own, b.id)
    hide(b)
    assert "lexical.arrays must have" in refusal(server, own, b.id)
    arrays.write_bytes(whole)
    said["config"]["analyzer"]["version"] = 2
    record.write_text(json.dumps(said))
    hide(b)
    assert "the analyzer's version must be 1, got 2" in refusal(server, own, b.id)
    said["config"]["analyzer"]["version"] = 1
    record.write_text(json.dumps({**said, "catalogue": "0" * 64}))
    hide(b)
    assert "must be of the catalogue" in refusal(server, own, b.id)


def test_missing_graph(server: TritonServer, own: Any, b: Generation) -> None:
    b.cpu_graph().unlink()
    assert "model_repository/encoder/1/model.unpadded.onnx is missing; export again" in refusal(server, own, b.id)
    hide(b)
    assert "model.unpadded.onnx does not exist: export the model first" in refusal(server, own, b.id)


def test_wrong_serial(server: TritonServer, own: Any, b: Generation) -> None:
    hide(b, serial=77)
    assert "model_repository/tokenizer/77/generation.json is missing: export again" in refusal(server, own, b.id)
    hide(b, serial=1)
    path = b.version_folder("retriever")
    identity = json.loads((path / "generation.json").read_text())
    Identity(**{**identity, "serial": 7}).save(path)
    hide(b)
    message = f"generation {b.id}: serial of its retriever must be 1 as in the manifest, got 7; export again"
    assert refusal(server, own, b.id) == message


def test_the_serial_of_the_one_that_serves(server: TritonServer, own: Any, b: Generation) -> None:
    for model in b.repository.iterdir():
        folder = (model / str(b.serial)).rename(model / str(own.a.serial))
        identity = json.loads((folder / "generation.json").read_text())
        Identity(**{**identity, "serial": own.a.serial}).save(folder)
    hide(b, serial=own.a.serial)
    assert refusal(server, own, b.id) == (
        f"generation {b.id} must have a serial number of its own, got {own.a.serial}, which is that of generation "
        f"{own.a.id}, loaded since the server started: export again"
    )


def test_edited_golden_answers(server: TritonServer, own: Any, b: Generation) -> None:
    shutil.copyfile(own.a.folder / "golden.json", b.folder / "golden.json")
    assert "golden.json" in refusal(server, own, b.id)
    hide(b)
    message = refusal(server, own, b.id)
    assert "golden queries as stored, got before the switch: " in message
    assert "; and " in message


def test_an_edited_id(server: TritonServer, own: Any, b: Generation) -> None:
    hide(b, **{"parts.golden": "0" * 64})
    assert f"generation {b.id}: its manifest must be of the same id, got " in refusal(server, own, b.id)


def test_another_configuration_than_the_running_one(server: TritonServer, own: Any, b: Generation) -> None:
    path = b.repository / "pipeline" / "config.pbtxt"
    path.write_text(path.read_text().replace('string_value: "2"', 'string_value: "1"'))
    hide(b)
    message = refusal(server, own, b.id)
    assert f"generation {b.id}: its pipeline/config.pbtxt must be the one that the server runs, got " in message
    assert message.endswith(f"restart with trident serve --generation {b.id}")


def test_a_search_ensemble_without_its_name(server: TritonServer, own: Any, b: Generation) -> None:
    path = b.repository / "search" / "configs" / "cpu.pbtxt"
    path.write_text(path.read_text().replace('name: "search"', 'name: "find"'))
    hide(b)
    assert "search/configs/cpu.pbtxt must name 'search'; export again" in refusal(server, own, b.id)


def test_quality_dropped_on_purpose(server: TritonServer, own: Any, b: Generation) -> None:
    """Generation b is the encoder before it was trained."""
    port = server.config.http_port
    gate = gate_of(own.folder, port, overrides=["gate.latency_ratio=1000", "gate.threads=1"], force=None)
    message = refusal(server, own, b.id, gate=gate)
    assert f"the gate refuses generation {b.id}, judged against {own.a.id}: " in message
    numbers = json.loads(ServingFolder.of(own.folder, port).refusal_path.read_text())
    assert numbers["candidate"] == b.id
    assert not numbers["passed"]


def test_recall_dropped_by_ef_1(server: TritonServer, own: Any, b: Generation) -> None:
    """The golden answers are those of the blunt index, so that only the gate can see it; quality may fall."""
    folder, port = b.version_folder("retriever"), server.config.http_port
    index = VectorIndex.load(folder)
    blunt = VectorIndex.build(
        index.vectors(np.arange(index.count)),
        config=IndexConfig(m=2, ef_construction=2, ef=1),
        encoder_fingerprint=index.encoder_fingerprint,
    )
    blunt.cuts = Cuts(exact_up_to=0)
    blunt.save(folder)
    assert "model_repository/retriever/1/" in refusal(server, own, b.id)
    save_golden(Searcher.load(b).answers([answer.query for answer in b.golden()]), b.folder / "golden.json")
    hide(b, **{"index.m": 2, "index.ef_construction": 2, "index.ef": 1})
    overrides = ["gate.latency_ratio=1000", "gate.threads=1", "gate.quality_tolerance=1"]
    message = refusal(server, own, b.id, gate=gate_of(own.folder, port, overrides=overrides, force=None))
    assert f"the gate refuses generation {b.id}, judged against {own.a.id}: recall_at_10: recall@10 of the" in message
    numbers = json.loads(ServingFolder.of(own.folder, port).refusal_path.read_text())
    failed = {check["name"]: check for check in numbers["checks"] if not check["passed"]}
    assert failed.keys() == {"recall_at_10", "overlap_at_10"}
    assert failed["recall_at_10"]["value"] < failed["recall_at_10"]["bound"] == 0.95


@pytest.mark.parametrize("name", ["0123456789abcdef", "../../etc", "", "serving"])
def test_unknown_id(server: TritonServer, own: Any, b: Generation, name: str) -> None:
    message = refusal(server, own, name)
    assert message.startswith((f"generation '{name}' is not in ", "a generation's id must be 16 hexadecimal digits"))


def test_disk_full_when_the_state_is_written(server: TritonServer, own: Any, b: Generation) -> None:
    folder = ServingFolder.of(own.folder, server.config.http_port)
    staging = folder.path / f".state.json.{os.getpid()}"  # where the new state is written before it is renamed
    staging.symlink_to("/dev/full")  # any write to it fails with "No space left on device"
    control = find_running(own.folder, server.config.http_port).control
    try:
        with pytest.raises(ServerError, match=r"cannot be written \(No space left on device\): free some space"):
            promote(own.folder, server.config.http_port, b.id, PromoteOptions(), report=lambda _: None)
    finally:
        staging.unlink(missing_ok=True)
    with served_throughout(server, own):  # switched there and back
        assert control.loaded("search") == {own.a.serial}


def test_a_file_that_cannot_be_written_for_another_reason(server: TritonServer, own: Any, b: Generation) -> None:
    folder = ServingFolder.of(own.folder, server.config.http_port)
    staging = folder.path / f".state.json.{os.getpid()}"
    staging.mkdir()
    try:
        with pytest.raises(ServerError, match=rf"written \(Is a directory\): generation {own.a.id} serves"):
            promote(own.folder, server.config.http_port, b.id, PromoteOptions(), report=lambda _: None)
    finally:
        staging.rmdir()


@contextmanager
def disk_full_after_the_switch(
    folder: ServingFolder, serial: int, *, losing_the_way_back: bool = False
) -> Iterator[None]:
    """Let this process write no byte to a file from when both ensembles are those of a serial number."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ended = threading.Event()

    def fill() -> None:
        while not (folder.models / "embed" / str(serial)).exists() and not ended.wait(0.0005):
            pass
        if losing_the_way_back:
            for aside in folder.path.glob(".ensembles.staging-*"):
                shutil.rmtree(aside)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_disk_full_from_the_switch_on(server: TritonServer, own: Any, b: Generation) -> None:
    folder = ServingFolder.of(own.folder, server.config.http_port)
    before = folder.state()
    message = rf"cannot be written \(File too large\): free some space; generation {own.a.id} serves"
    with pytest.raises(ServerError, match=message), disk_full_after_the_switch(folder, b.serial):
        promote(own.folder, server.config.http_port, b.id, PromoteOptions(), report=lambda _: None)
    with served_throughout(server, own):
        assert folder.state() == before
    assert not list(folder.path.glob(".ensembles*"))


def test_what_still_answers_stays_loaded(
    server: TritonServer, own: Any, b: Generation, caplog: pytest.LogCaptureFixture
) -> None:
    port = server.config.http_port
    folder = ServingFolder.of(own.folder, port)
    message = rf"cannot be written \(File too large\): free some space; generation {b.id} serves"
    with (
        pytest.raises(ServerError, match=message),
        disk_full_after_the_switch(folder, b.serial, losing_the_way_back=True),
    ):
        promote(own.folder, port, b.id, PromoteOptions(), report=lambda _: None)
    assert f"could not switch back to {own.a.id}: " in caplog.text
    assert f"generation {b.id} is still what 'search' answers with: it stays loaded" in caplog.text
    assert check_golden(server.urls.http, b).passed
    promote(own.folder, port, own.a.id, PromoteOptions(), report=lambda _: None)
    retire(own.folder, port, grace_s=0)


def test_disk_full_when_the_candidate_is_written(server: TritonServer, own: Any, b: Generation) -> None:
    program = (
        "import sys; from pathlib import Path; from trident.promotion.promotion import PromoteOptions, promote\n"
        "promote(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], PromoteOptions(), report=print)\n"
    )
    # no file may have a byte: folders and links are made, the first configuration is not
    command = ["bash", "-c", 'ulimit -f 0; exec "$@"', "promote", sys.executable, "-c", program]
    arguments = [str(own.folder), str(server.config.http_port), b.id]
    with served_throughout(server, own):
        made = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert made.stdout == f"loading generation {b.id} beside {own.a.id}\n"
    assert f"cannot be written (File too large): free some space; generation {own.a.id} serves" in made.stderr
