"""``trident generations``: what is on disk, loaded and serving, and what each scored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trident.commands.options import require_folder
from trident.commands.output import need, print_json, print_table, say
from trident.errors import ConfigError


def command(
    generations: Annotated[Path, typer.Option(help="The folder of generations.")] = Path("generations"),
    http_port: Annotated[int, typer.Option(help="HTTP port of the server to look at.")] = 8000,
    prune: Annotated[bool, typer.Option("--prune", help="Remove old generations from disk.")] = False,
    keep: Annotated[int | None, typer.Option(metavar="N", help="With --prune: how many of the newest stay.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the generations of a folder; with --prune remove old ones, never one that serves or served before."""
    if prune != (keep is not None):
        raise ConfigError("--prune and --keep N go together, got only one of them")
    require_folder(generations)
    removed = []
    if keep is not None:
        removed = need("serve", "trident.promotion.retention").prune(generations, keep=keep)
        say(f"removed {', '.join(removed) or 'none'}")
    rows = need("serve", "trident.promotion.inventory").inventory(generations, http_port)
    if json:
        print_json({"generations": [dataclasses.asdict(row) for row in rows], "removed": removed})
        return
    table = Table()
    for column in ("serial", "products", "MiB", "ROC-AUC", "NDCG@10"):
        table.add_column(column, justify="right")
    for column in ("id", "created", "gate", "state"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            "" if row.serial is None else str(row.serial),
            "" if row.products is None else f"{row.products:,}",
            f"{row.size_bytes / 2**20:.1f}",
            _figure(row.roc_auc),
            _figure(row.ndcg_at_10),
            row.id,
            row.created_at,
            row.gate,
            _state(row),
        )
    print_table(table)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _state(row: Any) -> str:
    if row.damage:
        return "damaged"
    return ", ".join(name for name in ("serving", "previous", "loaded") if getattr(row, name))
