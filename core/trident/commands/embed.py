"""``trident embed``: embed a catalogue in several processes, for an export to take over."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trident.commands.options import Column, Encoding, reading_of
from trident.commands.output import messages, need, print_json, quiet_transformers, say
from trident.data.reading import CATALOGUE_COLUMNS
from trident.progress import progress_bar
from trident.rights import require_writable_folder


def command(
    run: Annotated[Path, typer.Argument(help="A run folder of trident train.")],
    catalogue: Annotated[Path, typer.Option(help="The products: product_id, product_title and whatever else.")],
    out: Annotated[Path, typer.Option(help="The folder for vectors.npy; goes on from what a killed call left there.")],
    column: Column = None,
    encoding: Encoding = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Embed a catalogue with PyTorch; under accelerate launch, every process takes its share."""
    reading = reading_of(column, encoding, CATALOGUE_COLUMNS)
    need("export", "trident_export.run_folder").require_run(run)
    require_writable_folder(out)
    products = need("export", "trident.data.catalogue").read_catalogue(catalogue, reading)
    module = need("export", "trident_export.catalogue.embed_run")  # imports PyTorch
    quiet_transformers()
    with progress_bar(messages, "embedding, this process's share", None) as progress:
        record = module.embed_run(run, products, out, progress=progress)
    if not module.is_first():
        return
    if json:
        print_json(asdict(record))
        return
    say(f"{record.products:,} embeddings in {out}, made by {record.processes} processes on {record.device}")
