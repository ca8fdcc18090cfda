"""What an export will take is told before its long part, and what cannot fit is refused in a line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.errors import ExportError
from trident.generation.capacity import Free
from trident.generation.generation import TEST_PAIRS_FILE
from trident.index.index import IndexConfig, VectorIndex
from trident_export.catalogue.forecast import Known, Needs, Sample, measure, needs_of, require_room
from trident_export.config import ExportConfig
from trident_export.job import ExportJob, ExportOrder
from trident_export.progress_rows import Stage, Stages
from trident_export.stages.encoder import export_encoder
from trident_export.stages.forecast import tell_needs

GIB = 2**30
NAMES = Known(products=530_865, dimension=384, catalogue_bytes=60_000_000, parts_bytes=400_000_000)
SAMPLE = Sample(titles_per_s=818.0, index_bytes=1804.0, smaller=(2_000, 0.0006), larger=(8_000, 0.0010))


def needs(tmp_path: Path, known: Known = NAMES, sample: Sample | None = SAMPLE) -> Needs:
    return needs_of(known, embeddings=tmp_path / ".out.embeddings", generations=tmp_path / "out", sample=sample)


def room(found: Needs, *, memory: float = 64 * GIB, disk: float = 1000 * GIB, longest: int | None = None) -> None:
    require_room(
        found,
        memory=lambda: Free(int(memory), "memory of this machine"),
        disk=lambda folder: Free(int(disk), f"disk of {folder.parent}"),
        longest=lambda: longest,
    )


def test_half_a_million_names(tmp_path: Path) -> None:
    found = needs(tmp_path)
    assert found.embeddings[1] == 530_865 * 1536
    assert found.longest_file_bytes == 530_865 * 1804
    assert 1.6 * GIB < found.memory_bytes < 2.5 * GIB
    assert found.seconds is not None
    assert 20 * 60 < found.seconds < 40 * 60  # 649 s of embedding, and a graph whose vectors take longer and longer
    assert re.fullmatch(r"about 1\.\d GiB of memory and 2\.\d GiB of disk; embedding and index: \d\d min", found.text())
    room(found)


def test_without_a_sample_no_time_is_told(tmp_path: Path) -> None:
    assert needs(tmp_path, sample=None).text() == "about 1.8 GiB of memory and 2.1 GiB of disk"


@pytest.mark.parametrize("free", [0.0, 0.5, 1.0])
def test_too_little_memory(tmp_path: Path, free: float) -> None:
    message = (
        r"^an export of 530,865 products needs about 1\.\d GiB of memory, got [^ ]+ (bytes|.iB) free, memory of this "
        r"machine: give it more, or export fewer products$"
    )
    with pytest.raises(ExportError, match=message):
        room(needs(tmp_path), memory=free * GIB)


@pytest.mark.parametrize("free", [0.0, 0.5, 2.0])
def test_too_little_disk(tmp_path: Path, free: float) -> None:
    message = (
        r"^an export of 530,865 products needs about 2\.\d GiB of disk, got .* free, disk of .*: free some, or choose"
    )
    with pytest.raises(ExportError, match=message):
        room(needs(tmp_path), disk=free * GIB)


def test_files_that_may_not_be_so_long(tmp_path: Path) -> None:
    message = r"needs about 913 MiB in one file, got at most 512 MiB \(ulimit -f\): raise that limit"
    with pytest.raises(ExportError, match=message):
        room(needs(tmp_path), longest=2**29)


def test_what_a_killed_export_left_is_there_already(tmp_path: Path) -> None:
    folder = tmp_path / ".out.embeddings"
    folder.mkdir()
    (folder / "vectors.npy").write_bytes(bytes(10_000_000))
    assert needs(tmp_path).embeddings[1] == pytest.approx(530_865 * 1536 - 10_000_000, abs=10_000)


def test_vectors_that_are_taken_over_are_not_written(tmp_path: Path) -> None:
    taken = needs(tmp_path, Known(**{**NAMES.__dict__, "embeds": False}))
    whole = needs(tmp_path)
    assert taken.embeddings[1] == 0
    assert whole.seconds is not None
    assert taken.seconds == pytest.approx(whole.seconds - 530_865 / 818)


def test_a_sample_is_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    asked: list[int] = []

    def embed(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        vectors = rng.normal(size=(len(rows), 16)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def build(vectors: np.ndarray, folder: Path) -> int:
        config = IndexConfig(m=8, ef_construction=20)
        VectorIndex.build(vectors, config=config, encoder_fingerprint="a").save(folder)
        return sum(path.stat().st_size for path in folder.iterdir())

    found = measure(embed, build, products=10_000, sizes=(100, 400), folder=tmp_path)
    assert (len(asked), asked[0], asked[-1]) == (400, 0, 9_999)
    assert found.index_bytes > 4 * 16
    assert (found.smaller[0], found.larger[0]) == (100, 400)
    assert found.index_s(20_000) > found.index_s(10_000) > 0


def test_an_export_measures_and_says_what_it_will_take(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    said: list[Stage] = []
    pairs = read_pairs(tiny_run / TEST_PAIRS_FILE)
    job = ExportJob(
        order=ExportOrder(tiny_run, tiny_data / "products.csv", tmp_path / "out", ExportConfig(threads=1)),
        catalogue=read_catalogue(tiny_data / "products.csv"),
        pairs=pairs,
        queries=list(dict.fromkeys(pairs.queries)),
        folder=tmp_path / "generation",
        parts=tmp_path / "parts",
        stages=Stages(said.append),
    )
    for made in (job.merged, job.parts):
        made.mkdir(parents=True)
    encoder = export_encoder(job)
    before = len(said)
    tell_needs(job, encoder, tmp_path / ".out.embeddings")
    assert len(said) == before, "a small catalogue is not worth a word"
    tell_needs(job, encoder, tmp_path / ".out.embeddings", sampled_from=100, sizes=(20, 80))
    assert said[-1].stage == "forecast"
    assert re.fullmatch(r"about .* of memory and .* of disk; embedding and index: \d+ s", said[-1].proof)
    assert not (job.parts / "sample").exists()
