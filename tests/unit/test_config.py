"""Recipes: types, unknown keys, overrides; every shipped recipe parses."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.config import from_table, load_recipe, to_table
from trident.errors import ConfigError
from trident_train.recipe import TrainRecipe

RECIPES = sorted((Path(__file__).parents[2] / "train" / "recipes").glob("*.toml"))
MINIMAL = '[data]\npairs = "pairs.csv"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_parse_and_round_trip(path: Path) -> None:
    recipe = load_recipe(TrainRecipe, path)
    assert from_table(TrainRecipe, to_table(recipe), where="round trip") == recipe


def test_there_are_recipes() -> None:
    assert {"demo.toml", "icecat.toml", "movies.toml", "general.toml", "esci-e5-large-v2.toml"} <= {
        path.name for path in RECIPES
    }


def test_overrides_take_toml_values_and_bare_words(tmp_path: Path) -> None:
    recipe = load_recipe(
        TrainRecipe,
        write(tmp_path, MINIMAL),
        [
            "optimizer.epochs=7",
            "method=full",
            "lora.targets=['query']",
            "optimizer.learning_rate=1",
            "data.catalogue=c.csv",
        ],
    )
    assert recipe.optimizer.epochs == 7
    assert recipe.method == "full"
    assert recipe.lora.targets == ("query",)
    assert recipe.optimizer.learning_rate == 1.0
    assert recipe.data.catalogue == Path("c.csv")


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("", [], r"key 'data' is required \(recipe .*recipe\.toml\)"),
        ("[data\n", [], "is not a TOML file"),
        (MINIMAL + "[optimizer]\nepoch = 1\n", [], r"unknown key 'optimizer.epoch' \(did you mean 'epochs'\?\)"),
        (MINIMAL, ["optimizer.epochs=1.5"], r"'optimizer.epochs' must be of type int, got 1.5 of type float"),
        (MINIMAL, ["optimizer.epochs=true"], r"'optimizer.epochs' must be of type int, got True of type bool"),
        (MINIMAL, ["method=lore"], r"'method' must be one of 'none', 'lora', 'full', got 'lore'"),
        (MINIMAL, ["optimizer.epochs=0"], r"optimizer.epochs must be >= 1, got 0 \(recipe"),
        (MINIMAL, ["epochs"], "--set takes key=value, got 'epochs'"),
        (MINIMAL, ["method.x=1", "method=1"], "'method'"),
        (MINIMAL, ["data.pairs.x=1"], "'pairs' is not a table in the recipe"),
        (MINIMAL, ["optimizer=3"], "'optimizer' must be a table, got 3"),
        (MINIMAL, ["data.test_share=1.2"], "data.test_share must be between 0 and 1, got 1.2"),
        (MINIMAL, ["data.test_share=0.95"], "must leave queries to train on"),
        (MINIMAL, ["lora.rank=0"], "lora.rank must be >= 1, got 0"),
        (MINIMAL, ["lora.alpha=0"], "lora.alpha must be >= 1, got 0"),
        (MINIMAL, ["lora.top_layers=0"], "lora.top_layers must be >= 1, got 0"),
        (MINIMAL, ["lora.dropout=1.0"], "lora.dropout must be in"),
        (MINIMAL, ["lora.targets=[]"], "lora.targets must name at least one layer"),
        (MINIMAL, ["loss.temperature=0"], "loss.temperature must be > 0"),
        (MINIMAL, ["loss.temperature=nan"], "loss.temperature must be > 0 and finite, got nan"),
        (MINIMAL, ["loss.hard_negatives=-1"], "loss.hard_negatives must be >= 0"),
        (MINIMAL, ["optimizer.learning_rate=0"], "optimizer.learning_rate must be > 0"),
        (MINIMAL, ["optimizer.learning_rate=inf"], "optimizer.learning_rate must be > 0 and finite, got inf"),
        (MINIMAL, ["optimizer.max_gradient_norm=0"], "optimizer.max_gradient_norm must be > 0 and finite, got 0.0"),
        (MINIMAL, ["optimizer.max_gradient_norm=-1"], "optimizer.max_gradient_norm must be > 0 and finite, got -1.0"),
        (MINIMAL, ["seed=-1"], r"seed must be at least 0 and below 2\*\*32, got -1"),
        (MINIMAL, ["seed=4294967296"], r"seed must be at least 0 and below 2\*\*32, got 4294967296"),
        (MINIMAL, ["optimizer.warmup_share=1.0"], "optimizer.warmup_share must be in"),
        (
            MINIMAL,
            ["loss.name=infonce", "optimizer.batch_size=1"],
            "batch_size must be >= 2 to have in-batch negatives, got 1",
        ),
        ("[data]\n", [], "data must have either pairs or tables sources.NAME, got neither"),
        (MINIMAL, ["data.sources.a.pairs=a.csv"], "data must have either pairs or tables sources.NAME, got both"),
        ("[data.sources.a]\n", [], r"key 'data\.sources\.a\.pairs' is required"),
        ("[data.sources.'a b']\npairs = 'a.csv'\n", [], "a name has letters, digits, - and _ only, got 'a b'"),
        (MINIMAL, ["data.rank_catalogue=true"], "data.rank_catalogue needs data.catalogue, got none"),
        (MINIMAL, ["data.repeat=0"], "data.repeat must be >= 1, got 0"),
        (MINIMAL, ["data.contradictions=keep"], "'data.contradictions' must be one of 'refuse', 'drop', got 'keep'"),
        (MINIMAL, ["loss.positives_per_query=0"], "loss.positives_per_query must be >= 1, got 0"),
        (MINIMAL, ["negatives.mined=-1"], "negatives.mined must be >= 0, got -1"),
        (MINIMAL, ["negatives.mined=1"], "needs loss.name 'infonce', got 'cosine'"),
        (MINIMAL, ["negatives.mined=1", "loss.name=infonce"], "negatives.mined needs data.catalogue, got none"),
        (MINIMAL, ["negatives.from_rank=100"], "1 <= from_rank < to_rank <= 1000, got from_rank 100, to_rank 100"),
        (MINIMAL, ["selection.metrics=[]"], "selection.metrics must name at least one metric, got none"),
        (MINIMAL, ["selection.metrics=['auc']"], "'selection.metrics' must be one of 'roc_auc', .* got 'auc'"),
        (MINIMAL, ["selection.metrics=['catalogue_ndcg_at_10']"], "a catalogue metric in selection.metrics needs data"),
        (
            "[data.sources.a]\npairs = 'a.csv'\ncatalogue = 'c.csv'\n[data.sources.b]\npairs = 'b.csv'\n",
            ["selection.metrics=['catalogue_ndcg_at_10', 'catalogue_recall_at_100']"],
            r"must score every source, got catalogue_ndcg_at_10, catalogue_recall_at_100 only and data\.sources\.b wi",
        ),
        (MINIMAL, ["checkpoint.every_steps=0"], "checkpoint.every_steps must be >= 1, got 0"),
        (MINIMAL, ["tracker=mlflow"], "'tracker' must be one of 'none', 'tensorboard', 'wandb', got 'mlflow'"),
    ],
)
def test_refusals(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(TrainRecipe, write(tmp_path, text), overrides)


@pytest.mark.parametrize(
    "override",
    [
        "columns.query='q'",
        "encoding='latin-1'",
        "gains={E=1.0}",
        "positive_from=2",
        "catalogue='c.csv'",
        "repeat=4",
        "every_positive_known=true",
    ],
)
def test_keys_of_a_source_beside_several_are_refused(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, "[data.sources.a]\npairs = 'a.csv'\n")
    key = override.split("=")[0].split(".")[0]
    with pytest.raises(ConfigError, match=rf"data\.{key} beside .* set data\.sources\.NAME\.{key} of each source"):
        load_recipe(TrainRecipe, path, [f"data.{override}"])
    table = {"data": {"sources": {"a": {"pairs": "a.csv", "catalogue": "c.csv"}}, "test_share": 0.3}}
    recipe = from_table(TrainRecipe, table, where="here")
    assert from_table(TrainRecipe, to_table(recipe), where="round trip") == recipe


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_recipe(TrainRecipe, tmp_path / "no.toml")
