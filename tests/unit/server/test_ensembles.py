"""Ensembles of a runtime repository: those of every generation, and suggest, which not every one has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from trident.generation.generation import Generation
from trident.server.ensembles import ensembles_aside, point_ensembles, restore_ensembles
from trident.server.models import ensembles_in, further_models
from trident.server.runtime_repository import check_configuration, lay_out

EVERY = ("search", "embed", "suggest")


@pytest.fixture
def without(generation: Generation, tmp_path: Path) -> Generation:
    """Return a copy of the generation that has no suggestions."""
    copy = shutil.copytree(generation.folder, tmp_path / generation.id)
    for model in ("suggest", "suggester"):
        shutil.rmtree(copy / "model_repository" / model)
    return Generation.load(copy)


def laid_out(models: Path, generation: Generation) -> Path:
    lay_out(models, generation, cache=False, plan=None)
    return models


def test_a_repository_has_the_ensembles_of_its_generation(
    generation: Generation, without: Generation, tmp_path: Path
) -> None:
    models = laid_out(tmp_path / "one" / "models", generation)
    assert ensembles_in(models) == ensembles_in(generation.repository) == EVERY
    assert further_models(models) == ("suggester",)
    text = (models / "suggest" / "config.pbtxt").read_text()
    assert f"model_version: {generation.serial}" in text
    check_configuration(models, without, variant="cpu")
    models = laid_out(tmp_path / "two" / "models", without)
    assert ensembles_in(models) == ("search", "embed")
    assert further_models(models) == ()
    check_configuration(models, generation, variant="cpu")


def test_going_back_brings_back_what_was_there(generation: Generation, without: Generation, tmp_path: Path) -> None:
    models = laid_out(tmp_path / "serving" / "models", generation)
    with ensembles_aside(models) as aside:
        point_ensembles(models, without, variant="cpu", cache=False)
        assert ensembles_in(models) == EVERY  # the server answers with it until it is unloaded
        shutil.rmtree(models / "suggest")
        restore_ensembles(models, aside)
    assert ensembles_in(models) == EVERY
    assert (models / "suggest" / str(generation.serial) / "generation.json").exists()


def test_going_back_leaves_what_came_to_be_unloaded(
    generation: Generation, without: Generation, tmp_path: Path
) -> None:
    models = laid_out(tmp_path / "serving" / "models", without)
    with ensembles_aside(models) as aside:
        point_ensembles(models, generation, variant="cpu", cache=False)
        restore_ensembles(models, aside)
    assert ensembles_in(models) == EVERY
    assert (models / "search" / str(without.serial)).is_dir()
