"""A recipe that is published names local files and folders, and says of none where it lies."""

from __future__ import annotations

import json
from pathlib import Path

from trident_train.recipe import DataRecipe, LossRecipe, RerankerRecipe, TrainRecipe
from trident_train.report.card_text import describe_base, public_recipe

SECRET = Path("/home/somebody")


def test_no_path_of_this_machine_is_in_it() -> None:
    recipe = TrainRecipe(
        stage="reranker",
        base_model=str(SECRET / "base"),
        data=DataRecipe(pairs=str(SECRET / "pairs.csv"), catalogue=SECRET / "products.csv"),
        loss=LossRecipe(name="margin"),
        reranker=RerankerRecipe(first_stage=SECRET / "generation", teacher=SECRET / "teacher-run"),
    )
    found = public_recipe(recipe, describe_base(recipe.base_model, "f" * 64))
    assert (found["reranker"]["first_stage"], found["reranker"]["teacher"]) == ("generation", "teacher-run")
    assert str(SECRET) not in json.dumps(found)
