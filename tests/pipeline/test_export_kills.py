"""An export that is killed, at a stage boundary or anywhere, leaves no generation, and the next one succeeds."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from trident.generation.generation import list_generations

STAGES = (
    "attributes", "suggestions", "merge", "onnx", "parity", "catalogue",
    "index", "fp16", "int8", "engine", "lexical", "ranking", "golden", "quality", "calibration", "repository", "gate",
)  # fmt: skip
# Where something begins to be kept: the first files, embeddings that outlive the export, the serial number, the last.
FEW = ("merge", "catalogue", "repository", "gate")
EXPORT = """
import contextlib, os, signal, sys, threading, time
from pathlib import Path
import torch
from trident_export.config import EngineConfig, ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
torch.set_num_threads(1)
kind, run, catalogue, output, last = sys.argv[1:]
config = {
    "plain": ExportConfig(threads=1, precision=PrecisionConfig(made=())),
    "graph": ExportConfig(threads=1, precision=PrecisionConfig(made=()), exact_up_to=1000),
    "whole": ExportConfig(threads=1, engine=EngineConfig(library="tensorrt_rtx")),
}[kind]
embedded, took = [], []
def end():
    os.kill(os.getpid(), signal.SIGKILL)
def report(stage):
    if stage.stage == last:
        end()
    if stage.stage == "catalogue":
        embedded.append(time.monotonic())
        if last.endswith(" s of the index"):
            threading.Timer(float(last.split()[0]), end).start()
    if stage.stage == "index":
        took.append(time.monotonic() - embedded[0])
        if last.endswith(" s of the index"):
            end()
@contextlib.contextmanager
def embedding(total):
    left = [float(last.removesuffix(" products")) if last.endswith(" products") else float("inf")]
    def count(products):
        left[0] -= products
        if left[0] <= 0:
            end()
    yield count
if last.endswith(" s"):
    threading.Timer(float(last[:-2]), end).start()
made = export_generation(
    ExportOrder(Path(run), Path(catalogue), Path(output), config), report=report, embedding=embedding
)
print(made.id, *(row["proof"] for row in made.manifest.stages if row["stage"] in ("catalogue", "index")), sep="; ")
print(*took, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("kind", "stages"),
    [("plain", FEW), pytest.param("whole", STAGES, id="every", marks=pytest.mark.slow)],
    ids=["few", "every"],
)
def test_a_kill_at_a_stage_boundary_leaves_nothing(
    warm_python: Any, tiny_run: Path, tiny_data: Path, tmp_path: Path, kind: str, stages: tuple[str, ...]
) -> None:
    generations = tmp_path / "generations"
    arguments = ("-c", EXPORT, kind, tiny_run, tiny_data / "products.csv", generations)
    for stage in stages:
        killed = warm_python.run(*arguments, stage)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert [path for path in generations.iterdir() if not path.name.startswith(".")] == []
    done = warm_python.run(*arguments, "none")
    assert done.returncode == 0, done.stderr
    (made,) = list_generations(generations)
    made.verify_files()
    assert made.serial == 3  # those of the exports that were killed after they had theirs are not given again
    assert sorted(path.name for path in generations.iterdir() if path.is_dir()) == [made.id]
    assert not (tmp_path / ".generations.embeddings").exists()


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_nothing(
    warm_python: Any, tiny_run: Path, tiny_data: Path, tmp_path: Path, slow_seed: int
) -> None:
    generations = tmp_path / "generations"
    arguments = ("-c", EXPORT, "whole", tiny_run, tiny_data / "products.csv", generations)
    moments = random.Random(slow_seed)
    killed, latest = 0, 12.0
    for _ in range(20):
        moment = moments.uniform(0.1, latest)
        done = warm_python.run(*arguments, f"{moment:.2f} s")
        made = list_generations(generations)
        if done.returncode == 0:  # it was faster than its end: sooner, and from the start again
            latest = moment
            shutil.rmtree(generations)
            continue
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        for each in made:  # killed after its rename: whole
            each.verify_files()
    assert killed >= 10
    assert warm_python.run(*arguments, "none").returncode == 0
    (one,) = list_generations(generations)
    one.verify_files()
    assert not list(generations.glob(".export*"))


@pytest.mark.slow
def test_kills_while_embedding_lose_little_and_change_nothing(
    warm_python: Any, tiny_run: Path, tmp_path: Path, slow_seed: int
) -> None:
    catalogue = tmp_path / "products.csv"
    rows = [f"p{row},{'brass ' * (row % 7)}kettle {row}" for row in range(20_000)]
    catalogue.write_text("\n".join(["product_id,product_title", *rows]) + "\n", encoding="utf-8")
    arguments = ("-c", EXPORT, "whole", tiny_run, catalogue)
    whole = warm_python.run(*arguments, tmp_path / "whole", "none")
    assert whole.returncode == 0, whole.stderr
    moments = random.Random(slow_seed)
    for point in sorted(moments.randint(1, 19_999) for _ in range(10)):
        killed = warm_python.run(*arguments, tmp_path / "generations", f"{point} products")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert list_generations(tmp_path / "generations") == []
    done = warm_python.run(*arguments, tmp_path / "generations", "none")
    assert done.returncode == 0, done.stderr
    assert "of them before" in done.stdout, "embedding went on where a killed export was"
    identity, _, proof = done.stdout.partition("; ")
    assert (identity, proof.partition("; ")[2]) == (
        whole.stdout.partition("; ")[0],
        whole.stdout.partition("; ")[2].partition("; ")[2],
    ), "the same bytes, and the same recall"


@pytest.mark.slow
def test_kills_while_the_index_is_built_change_nothing(
    warm_python: Any, tiny_run: Path, tmp_path: Path, slow_seed: int
) -> None:
    catalogue = tmp_path / "products.csv"
    words = ("brass", "oak", "wool", "kettle", "sofa", "lamp", "novel", "hose")
    draw = random.Random(slow_seed)
    rows = [f"p{row},{' '.join(draw.choices(words, k=6))} {row}" for row in range(20_000)]
    catalogue.write_text("\n".join(["product_id,product_title", *rows]) + "\n", encoding="utf-8")
    arguments = ("-c", EXPORT, "graph", tiny_run, catalogue)
    whole = warm_python.run(*arguments, tmp_path / "whole", "none")
    assert whole.returncode == 0, whole.stderr
    took_s = float(whole.stderr.split()[-1])
    for tenth in range(10):
        moment = f"{took_s * (tenth + 0.5) / 10:.2f} s of the index"
        killed = warm_python.run(*arguments, tmp_path / "generations", moment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert list_generations(tmp_path / "generations") == []
    done = warm_python.run(*arguments, tmp_path / "generations", "none")
    assert done.returncode == 0, done.stderr
    same = [[made.split("; ")[part] for part in (0, -1)] for made in (whole.stdout, done.stdout)]
    assert same[0] == same[1], "the same id, of the same graph, and the same recall"
