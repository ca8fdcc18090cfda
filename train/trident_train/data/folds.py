"""What cross-validation can be asked for."""

from __future__ import annotations

import os

from trident.errors import ConfigError
from trident_train.recipe import TrainRecipe


def check_folds(recipe: TrainRecipe, *, folds: int, deals: int) -> None:
    """Refuse what cannot be cross-validated.

    Raises:
        ConfigError: If there are too few folds or deals, nothing is trained, or several processes would do it.
    """
    if folds < 2 or deals < 1:
        raise ConfigError(f"cross-validation needs folds >= 2 and deals >= 1, got {folds} and {deals}")
    if recipe.method == "none":
        raise ConfigError('cross-validation needs a method that trains, got method = "none"')
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("cross-validation runs in one process, got a launcher with several: start it by itself")
