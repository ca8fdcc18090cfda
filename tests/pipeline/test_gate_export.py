"""The export's last stage: what is worse than the serving generation does not appear, unless there is a reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trident.errors import ConfigError
from trident.generation.generation import Generation, find_generation, list_generations
from trident.index.index import IndexConfig
from trident.quality.config import GateConfig
from trident.quality.gate import record_gate, run_gate
from trident.quality.gate_report import GateError
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation

PLAIN = ExportConfig(threads=1, precision=PrecisionConfig(made=()), gate=GateConfig(threads=1, latency_ratio=50.0))
BLUNT = IndexConfig(m=2, ef_construction=2, ef=1)


def export(
    run: Path, data: Path, output: Path, config: ExportConfig = PLAIN, *, force: str | None = None
) -> Generation:
    return export_generation(ExportOrder(run, data / "products.csv", output, config, force=force))


@pytest.fixture
def generations(tiny_generations: Path, tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns(".serving")  # what servers of other tests left
    return Path(shutil.copytree(tiny_generations, tmp_path / "generations", ignore=ignored))


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_dropped_quality_is_refused_and_a_reason_is_kept(
    worse_run: Path, tiny_data: Path, generations: Path, run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (serving,) = list_generations(generations)
    arguments = (
        *("export", worse_run, "--catalogue", tiny_data / "products.csv", "--out", generations),
        *("--set", "threads=1", "--set", "precision.made=[]"),
        *("--set", "gate.threads=1", "--set", "gate.latency_ratio=50"),
    )  # fmt: skip
    refused = run_warm(*arguments)
    assert (refused.returncode, refused.stdout) == (1, "")
    lines = refused.stderr.splitlines()
    assert lines[-1].startswith("trident: the gate refuses generation ")
    assert "against " + serving.id in lines[-1]
    assert any(line.startswith("│ ndcg_at_10 ") and "│ NO " in line for line in lines), refused.stderr
    assert left(generations) == {".lock", ".serial", "refusal.json", serving.id}
    numbers = json.loads((generations / "refusal.json").read_text())
    figures = {check["name"]: check for check in numbers["checks"]}
    assert (numbers["passed"], numbers["serving"]) == (False, serving.id)
    assert figures["ndcg_at_10"]["high"] < figures["ndcg_at_10"]["bound"] == -0.005
    assert figures["ndcg_at_10"]["candidate"] < figures["ndcg_at_10"]["serving"]
    forced = run_warm(*arguments, "--force", "the old one is recalled", "--json")
    assert forced.returncode == 0, forced.stderr
    made = find_generation(generations)
    made.verify_files()
    assert (made.id, made.serial) == (numbers["candidate"], 3)  # 2 was the refused one's
    (entry,) = made.manifest.gate
    assert (entry["by"], entry["forced"], entry["passed"]) == ("export", "the old one is recalled", False)
    assert made.manifest.stages[-1]["proof"].startswith("forced: the old one is recalled; the gate refuses")


def test_recall_dropped_by_ef_1_is_refused_with_nothing_to_compare_with(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    blunt = ExportConfig(
        threads=1, precision=PLAIN.precision, gate=PLAIN.gate, index=BLUNT, recall_target=0.01, exact_up_to=0
    )
    output = tmp_path / "generations"
    with pytest.raises(GateError, match=r"judged by itself: recall_at_10: recall@10 of the index at ef 1 over"):
        export(tiny_run, tiny_data, output, blunt)
    assert left(output) == {".lock", ".serial", "refusal.json"}
    numbers = json.loads((output / "refusal.json").read_text())
    assert numbers["serving"] is None
    assert {check["name"] for check in numbers["checks"] if not check["passed"]} == {"recall_at_10", "overlap_at_10"}


def test_the_gate_is_no_part_of_the_id(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, tiny_generations: Path, generations: Path
) -> None:
    first = export(tiny_run, tiny_data, tmp_path / "first")
    strict = ExportConfig(
        threads=1, precision=PLAIN.precision, gate=GateConfig(threads=1, latency_ratio=1e-3, queries=3)
    )
    forced = export(tiny_run, tiny_data, generations, strict, force="a drill")
    assert forced.id == first.id
    assert [(entry["passed"], entry["forced"]) for each in (first, forced) for entry in each.manifest.gate] == [
        (True, None), (False, "a drill"),
    ]  # fmt: skip
    assert first.manifest.gate[0]["serving"] is None
    assert forced.manifest.gate[0]["serving"] == find_generation(tiny_generations).id
    again = export(tiny_run, tiny_data, generations, strict)  # found, not judged anew
    assert again.manifest == forced.manifest


def test_an_empty_reason_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--force needs a reason"):
        export(tmp_path / "none", tmp_path, tmp_path / "g", force=" ")


def made_earlier(generation: Generation) -> None:
    """Make a generation one of the format before."""
    path = generation.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))


def test_beside_a_generation_of_an_earlier_trident_an_export_needs_a_reason(
    tiny_run: Path, tiny_data: Path, generations: Path, run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (serving,) = list_generations(generations)
    made_earlier(serving)
    arguments = ("export", tiny_run, "--catalogue", tiny_data / "products.csv", "--out", generations)
    arguments = (*arguments, "--set", "threads=1", "--set", "precision.made=[]", "--set", "index.ef_construction=150")
    refused = run_warm(*arguments)
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    assert line == (
        f"trident: the gate cannot compare with what serves from {generations}: generation {serving.id} was made by "
        "an earlier Trident (format 1, this one reads 4); export into another folder, or overrule with "
        '--force "reason"'
    )
    forced = run_warm(*arguments, "--force", "the format is new", "--json")
    assert forced.returncode == 0, forced.stderr
    (entry,) = find_generation(generations).manifest.gate
    assert (entry["forced"], entry["passed"]) == ("the format is new", False)
    (failed,) = [check for check in entry["checks"] if not check["passed"]]
    assert (failed["name"], failed["value"], failed["bound"]) == ("format", 1, 4)
    assert failed["rule"].startswith(f"generation {serving.id} was made by an earlier Trident")


def test_a_generation_of_an_earlier_trident_is_not_served(
    generations: Path, run_warm: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (found,) = list_generations(generations)
    made_earlier(found)
    words = f"generation {found.id} was made by an earlier Trident (format 1, this one reads 4): export again"
    for options in ((), ("--generation", found.id)):
        refused = run_warm("serve", "--generations", generations, *options)
        assert (refused.returncode, refused.stderr.splitlines()[-1]) == (1, f"trident: {words}")
    listed = run_warm("generations", "--generations", generations, "--json")
    (row,) = json.loads(listed.stdout)["generations"]
    assert (row["id"], row["damage"]) == (found.id, words)


def test_a_generation_is_on_the_disk_before_it_has_its_name(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, disk: Any
) -> None:
    made = export(tiny_run, tiny_data, tmp_path / "generations")
    assert not disk.unsynced
    (named,) = [event for event in disk.events if event[0] == "rename" and event[2] == str(made.folder)]
    after = disk.events[disk.events.index(named) :]
    assert ("sync", str(made.folder.parent)) in after
    synced = {event[1].removeprefix(named[1]) for event in disk.events if event[0] == "sync"}
    missing = [path for path in made.folder.rglob("*") if str(path).removeprefix(str(made.folder)) not in synced]
    assert missing == []


def test_a_manifest_with_another_judgement_is_on_the_disk_before_it_counts(generations: Path, disk: Any) -> None:
    (serving,) = list_generations(generations)
    report = run_gate(serving, None, PLAIN.gate)
    record_gate(serving, report, by="promote", force=None if report.passed else "as it is")
    assert not disk.unsynced
    assert disk.synced_after(serving.folder)
