"""``trident sample``: write the bundled sample data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trident.commands.output import need, print_json, say


def command(
    out: Annotated[Path, typer.Option(help="Folder to write products.csv and pairs.csv into.")] = Path("data/sample"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a small labelled product search data set, made by Trident itself."""
    sample = need("train", "trident_train.data.sample")
    paths = sample.write_sample(out)
    if json:
        print_json({"products": str(paths.products), "pairs": str(paths.pairs)})
    else:
        say(f"wrote {paths.products} and {paths.pairs}")
