"""``trident cross-validate``: what a recipe does to queries that it was not trained on, over more of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trident.commands.output import first_process, need, print_json, print_table, quiet_transformers, say
from trident.commands.train_progress import progress_bar, show
from trident.config import to_table
from trident.rights import require_writable_folder


def command(
    recipe: Annotated[Path, typer.Argument(help="A TOML recipe, such as train/recipes/icecat.toml.")],
    out: Annotated[Path, typer.Option(help="A folder for the runs; finished ones in it are not trained again.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts that the queries are dealt out into; one training each.")] = 4,
    deals: Annotated[int, typer.Option(help="Times that they are dealt out.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a recipe several times, each time without a part of its train and validation queries; judge by those.

    The test split takes no part: choose settings by these figures, and look at the test split once.
    """
    recipes = need("train", "trident_train.model.recipe_file")
    config, said = recipes.read_train_recipe(recipe, set_ or [])
    if said is not None and first_process():
        say(said)
    require_writable_folder(out)
    need("train", "trident_train.data.folds").check_folds(config, folds=folds, deals=deals)
    need("train", "trident_train.data.sources").read_sources(config)
    cross_validation = need("train", "trident_train.cross_validation")  # imports PyTorch
    quiet_transformers()
    with progress_bar() as progress:
        result = cross_validation.cross_validate(
            config,
            out,
            folds=folds,
            deals=deals,
            report=show(progress),
            begin=say,
        )
    table = to_table(result)
    if json:
        print_json(table)
        return
    for source in table["sources"]:
        print_table(_gain_table(source, config.method))


def _gain_table(source: dict[str, Any], method: str) -> Table:
    of = f" of {source['data']}" if source["data"] else ""
    table = Table(title=f"held-out queries{of}", title_justify="left")
    table.add_column("figure")
    for name in ("pretrained", method, "change", "95% interval", "better", "worse"):
        table.add_column(name, justify="right")
    before, after = source["roc_auc"]
    table.add_row("ROC-AUC, mean over folds", f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}", "", "", "")
    for name, key in (("NDCG@10", "ndcg_at_10"), ("catalogue NDCG@10", "catalogue_ndcg_at_10")):
        if gain := source[key]:
            change = gain["change"]
            table.add_row(
                name,
                f"{gain['before']:.4f}",
                f"{gain['after']:.4f}",
                f"{change['value']:+.4f}",
                f"{change['low']:+.3f} to {change['high']:+.3f}",
                str(gain["better"]),
                str(gain["worse"]),
            )
    table.caption = f"{source['ndcg_at_10']['queries']:,} queries with a relevant product"
    return table
