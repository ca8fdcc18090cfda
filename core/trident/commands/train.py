"""``trident train``: fine-tune an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trident.commands.output import first_process, need, print_json, print_table, quiet_transformers, say
from trident.commands.quality_table import by_data, quality_table
from trident.commands.train_progress import progress_bar, show
from trident.config import to_table
from trident.errors import TridentError
from trident.rights import require_writable_folder


def command(
    recipe: Annotated[Path, typer.Argument(help="A TOML recipe, such as train/recipes/demo.toml.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run folder.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away the checkpoints of an interrupted run.")
    ] = False,
    allow_worse: Annotated[
        bool, typer.Option("--allow-worse", help="Exit 0 although training did not beat the pretrained model.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fine-tune an encoder on labelled pairs; print its quality before and after on held-out queries.

    An interrupted run goes on from its last checkpoint when the same command is given again.
    """
    recipes = need("train", "trident_train.model.recipe_file")
    config, said = recipes.read_train_recipe(recipe, set_ or [])
    if said is not None and first_process():
        say(said)
    if out.exists() and not overwrite:
        raise TridentError(f"{out} exists already: choose another --out, or add --overwrite")
    require_writable_folder(out.parent)
    sources = need("train", "trident_train.data.sources").read_sources(config)
    run = need("train", "trident_train.run")  # now that what is asked for can be: it imports PyTorch
    quiet_transformers()
    with progress_bar() as progress:
        report = run.train(config, out, overwrite=overwrite, restart=restart, sources=sources, report=show(progress))
    if not first_process():
        return
    table = to_table(report)
    if json:
        print_json(table)
    else:
        for name, rows in by_data(table["test"]).items():
            source = config.data.by_name()[name]
            print_table(quality_table(f"held-out queries of {name or source.pairs}", rows))
    if report.improved is None:
        say(f"wrote {out}: the pretrained model as it is")
        return
    kept = need("train", "trident_train.report.results").kept_text(table["trained"])
    say(
        f"wrote {out}: {kept}; {report.trained_weights:,} of {report.total_weights:,} "
        f"weights trained, {report.seconds:.0f} s"
    )
    if not report.improved:
        say(
            f"training did not help: validation score {report.trained.best_score:.4f}, pretrained "
            f"{report.pretrained_validation.value:.4f} ({', '.join(config.selection.metrics)}); "
            "the run is kept for a look, but do not serve it",
            style="bold red",
        )
        if not allow_worse:
            raise typer.Exit(1)
