"""Reads a recipe, and what its base model says about its texts where the recipe says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.config import from_table, read_recipe_table
from trident.encoder.base_model import find_model
from trident.encoder.folder_text import read_folder_text
from trident_train.recipe import TrainRecipe


def read_train_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[TrainRecipe, str | None]:
    """Return a recipe whose text contract is whole, and what of it the model folder said, in a line.

    Args:
        path: The TOML file.
        overrides: Items such as ``"optimizer.epochs=3"``.

    Raises:
        ConfigError: If the recipe breaks a rule.
        ModelError: If its base model is not there, or asks for what Trident cannot do.
    """
    table, where = read_recipe_table(path, overrides), f"recipe {path}"
    recipe = from_table(TrainRecipe, table, where=where)
    said = read_folder_text(find_model(recipe.base_model))
    given = table.get("text", {})
    return from_table(TrainRecipe, {**table, "text": {**said.changes, **given}}, where=where), said.line(given)
