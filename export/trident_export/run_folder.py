"""The run folder of a training, as far as an export needs to know it."""

from __future__ import annotations

import json
from pathlib import Path

from trident.errors import ModelError
from trident.generation.generation import TEST_PAIRS_FILE

BASE_FILE = "base.json"
RECIPE_FILE = "recipe.json"
ADAPTER_FOLDER = "adapter"


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


def base_model_of(run: Path) -> str | None:
    """Return the base model that a run's adapters belong to; None where the run has whole weights of its own.

    Raises:
        ModelError: If what the run says of it cannot be read.
    """
    if not (run / ADAPTER_FOLDER).is_dir():
        return None
    try:
        return str(json.loads((run / BASE_FILE).read_text(encoding="utf-8"))["base_model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{run} is no run folder: {BASE_FILE} cannot be read ({error}); train one") from error


def require_stage(run: Path, wanted: str, what: str) -> None:
    """Refuse a run of another stage.

    Args:
        run: A run folder.
        wanted: ``encoder`` or ``reranker``.
        what: Names the run in errors.

    Raises:
        ModelError: If it is missing, or of another stage.
    """
    try:
        stage = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8")).get("stage", "encoder")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{run} is no run folder: {RECIPE_FILE} cannot be read ({error}); train one") from error
    if stage != wanted:
        raise ModelError(f"{what} must be that of stage '{wanted}', got one of stage '{stage}' ({run})")
