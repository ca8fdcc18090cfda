"""``trident cluster``: the products of generations in a store, an engine past one machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trident.commands.options import require_folder
from trident.commands.output import messages, need, print_json, print_table, say
from trident.errors import ConfigError
from trident.progress import progress_bar

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Load the products of generations into a store, and look at what is there.",
)
Generations = Annotated[Path, typer.Option(help="The folder of generations.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DEFAULT_GENERATIONS = Path("generations")


@app.command()
def load(
    generation: Annotated[str | None, typer.Argument(help="Its id; otherwise the newest.")] = None,
    generations: Generations = DEFAULT_GENERATIONS,
    batch: Annotated[int, typer.Option(help="Products a request, 1 to 10,000.")] = 500,
    again: Annotated[bool, typer.Option("--again", help="Remove what is there of it before.")] = False,
    json: Json = False,
) -> None:
    """Load a generation's products into its store, going on where it was stopped, and prove what is there."""
    if not 1 <= batch <= 10_000:
        raise ConfigError(f"--batch must be 1 to 10,000, got {batch}")
    found = need("cluster", "trident.generation.generation").find_generation(generations, generation)
    loaded = need("cluster", "trident.cluster.filling")
    total = found.manifest.products
    with progress_bar(messages, "loading", total) as progress:
        sample = loaded.load_generation(found, batch=batch, again=again, progress=progress)
    store = need("cluster", "trident.cluster.store").store_of(found)
    if json:
        recall = None if sample is None else dataclasses.asdict(sample)
        print_json({"generation": found.id, "store": store.address, "products": total, "recall": recall})
        return
    proof = "was there already" if sample is None else f"recall@10 at least {sample.lowest:.4f}"
    say(f"generation {found.id}: {total:,} products in {store.address}, {proof}")


@app.command()
def status(generations: Generations = DEFAULT_GENERATIONS, json: Json = False) -> None:
    """List the generations whose products are in a store, and how far each is there."""
    require_folder(generations)
    rows: list[dict[str, Any]] = need("cluster", "trident.cluster.filling").overview(generations)
    if json:
        print_json({"generations": rows})
        return
    table = Table()
    for column in ("generation", "store", "state"):
        table.add_column(column)
    for column in ("products", "loaded", "number"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = ("" if row[name] is None else f"{row[name]:,}" for name in ("products", "loaded", "number"))
        table.add_row(row["generation"] or "", row["store"], row["state"], *figures)
    print_table(table)
