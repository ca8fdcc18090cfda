"""The run folder of a training, as far as an export needs to know it."""

from __future__ import annotations

from pathlib import Path

from trident.errors import ModelError
from trident.generation.generation import TEST_PAIRS_FILE

BASE_FILE = "base.json"


def require_run(run: Path) -> None:
    """Refuse a folder that no training left.

    Raises:
        ModelError: If it is not there, or lacks what an export reads first.
    """
    if not run.is_dir():
        raise ModelError(f"run folder {run} does not exist: make one with trident train RECIPE --out {run}")
    for name in (BASE_FILE, TEST_PAIRS_FILE):
        if not (run / name).is_file():
            raise ModelError(f"{run} is no run folder: it has no {name}; make one with trident train")
