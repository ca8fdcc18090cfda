"""``trident train``: fine-tune an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trident.commands.output import messages, need, print_json, print_table, quiet_transformers, say
from trident.commands.quality_table import quality_table
from trident.config import load_recipe, to_table
from trident.errors import TridentError


def command(
    recipe: Annotated[Path, typer.Argument(help="A TOML recipe, such as train/recipes/demo.toml.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fine-tune an encoder on labelled pairs; print its quality before and after on held-out queries."""
    run = need("train", "trident_train.run")
    recipes = need("train", "trident_train.recipe")
    quiet_transformers()
    config = load_recipe(recipes.TrainRecipe, recipe, set_ or [])
    if out.exists() and not overwrite:
        raise TridentError(f"{out} exists already: choose another --out, or add --overwrite")
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    ) as progress:
        task = progress.add_task("training", total=None, note="reading")

        def show(entry: Any) -> None:
            if hasattr(entry, "validation_roc_auc"):
                say(
                    f"epoch {entry.epoch}: loss {entry.mean_loss:.4f}, validation ROC-AUC "
                    f"{entry.validation_roc_auc:.4f}, {entry.pairs / entry.seconds:,.0f} pairs/s, {entry.seconds:.0f} s"
                )
            else:
                progress.update(task, completed=entry.step, total=entry.steps, note=f"loss {entry.loss:.4f}")

        report = run.train(config, out, overwrite=overwrite, report=show)
    table = to_table(report)
    if json:
        print_json(table)
        return
    print_table(quality_table(f"held-out queries of {config.data.pairs}", table["test"]))
    if config.method == "none":
        say(f"wrote {out}: the pretrained model as it is")
        return
    say(
        f"wrote {out}: best epoch {report.best_epoch}, {report.trained_weights:,} of {report.total_weights:,} weights "
        f"trained, {report.seconds:.0f} s"
    )
    if not report.improved:
        say(
            f"warning: training did not help: validation ROC-AUC {report.best_validation_roc_auc:.4f}, pretrained "
            f"{report.pretrained_validation_roc_auc:.4f}",
            style="bold red",
        )
