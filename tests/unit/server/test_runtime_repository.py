"""The encoder's version folder in the repository that a server reads: its links, and what removing them leaves."""

from __future__ import annotations

from pathlib import Path

from trident.generation.generation import ENCODER_FOLDER, WEIGHTS, Generation
from trident.server.runtime_repository import add_components, remove_components


def test_the_merged_model_is_linked_and_survives_its_links(generation: Generation, tmp_path: Path) -> None:
    model = generation.folder / ENCODER_FOLDER
    files = sorted(path.name for path in model.iterdir())
    add_components(tmp_path, generation, plan=None)
    link = tmp_path / "encoder" / str(generation.serial) / WEIGHTS
    assert link.resolve() == model.resolve()
    remove_components(tmp_path, generation.serial)
    assert not link.exists()
    assert sorted(path.name for path in model.iterdir()) == files
    assert "model.safetensors" in files
