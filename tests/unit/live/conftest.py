"""A folder of generations of which one serves, with a log beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trident.generation.generation import Generation
from trident.generation.state import ServingFolder
from trident.journal.folder import LiveFolder
from trident.live.preparing import recover


@pytest.fixture
def generations(priced: Generation, tmp_path: Path) -> Path:
    """Return a folder with a copy of the tiny generation with attributes, which serves."""
    folder, generation = tmp_path / "generations", priced
    shutil.copytree(generation.folder, folder / generation.id)
    serving = ServingFolder.of(folder, 8000)
    serving.path.mkdir(parents=True)
    serving.write_state(generation.id, None)
    recover(LiveFolder.of(folder))
    return folder
