"""An export that is killed at a stage boundary leaves no generation, and the next one succeeds."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from trident.generation.generation import list_generations

STAGES = (
    "merge", "onnx", "parity", "catalogue", "index", "fp16", "int8", "engine", "golden", "quality", "repository",
    "gate",
)  # fmt: skip
EXPORT = """
import os, signal, sys
from pathlib import Path
import torch
from trident_export.config import EngineConfig, ExportConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
torch.set_num_threads(1)
config = ExportConfig(threads=1, engine=EngineConfig(library="tensorrt_rtx"))
run, catalogue, output, last = sys.argv[1:]
def report(stage):
    if stage.stage == last:
        os.kill(os.getpid(), signal.SIGKILL)
export_generation(ExportOrder(Path(run), Path(catalogue), Path(output), config), report=report)
"""


def test_a_kill_at_every_stage_boundary_leaves_nothing(
    warm_python: Any, tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    generations = tmp_path / "generations"
    arguments = ("-c", EXPORT, tiny_run, tiny_data / "products.csv", generations)
    for stage in STAGES:
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
