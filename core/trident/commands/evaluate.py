"""``trident evaluate``: judge a run or a model on labelled pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trident.commands.options import (
    CatalogueColumn,
    CatalogueEncoding,
    Column,
    Encoding,
    Gain,
    PositiveFrom,
    label_rule,
    reading_of,
)
from trident.commands.output import messages, need, print_json, print_table, quiet_transformers, say
from trident.commands.quality_table import quality_table
from trident.config import to_table
from trident.data.reading import CATALOGUE_COLUMNS, COMMAND_CATALOGUE, COMMAND_PAIRS, PAIR_COLUMNS
from trident.progress import progress_bar


def command(
    model: Annotated[str, typer.Argument(help="A run folder, a model folder, pypi:PACKAGE or a hub id.")],
    pairs: Annotated[Path, typer.Option(help="Labelled pairs.")],
    catalogue: Annotated[Path | None, typer.Option(help="Rank the whole catalogue too.")] = None,
    split: Annotated[str | None, typer.Option(help="Take only this value of the split column.")] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Leave out queries that the run was trained on.")
    ] = False,
    positive_from: PositiveFrom = None,
    gain: Gain = None,
    contradictions: Annotated[
        str, typer.Option(metavar="refuse|drop", help="What becomes of pairs that are relevant and irrelevant.")
    ] = "refuse",
    column: Column = None,
    encoding: Encoding = None,
    catalogue_column: CatalogueColumn = None,
    catalogue_encoding: CatalogueEncoding = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Change the text contract, such as query_template='query: {text}'."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Judge an encoder: pooled ROC-AUC, NDCG@10, MRR@10, Recall@k; random, BM25 and hybrid beside it."""
    judge = need("train", "trident_train.report.judge")
    request = judge.Request(
        model=model,
        pairs=pairs,
        catalogue=catalogue,
        split=split,
        held_out=held_out,
        labels=label_rule("train", positive_from, gain),
        contradictions=contradictions,
        reading=reading_of(column, encoding, PAIR_COLUMNS, COMMAND_PAIRS),
        catalogue_reading=reading_of(
            catalogue_column, catalogue_encoding, CATALOGUE_COLUMNS, COMMAND_CATALOGUE, option="--catalogue-column"
        ),
        text=text or [],
    )
    prepared = judge.prepare(request)
    quiet_transformers()  # from here on with PyTorch
    with progress_bar(messages, "embedding", None) as progress:
        rows, notes = judge.judge(prepared, progress=progress)
    tables = [to_table(row) for row in rows]
    if json:
        print_json({"model": model, "pairs": str(pairs), "arms": tables, "notes": notes})
        return
    print_table(quality_table(f"{pairs}", tables))
    for note in notes:
        say(f"note: {note}")
