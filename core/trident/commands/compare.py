"""``trident compare``: finished runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trident.commands.output import need, print_json, print_table, say
from trident.commands.quality_table import quality_table
from trident.config import to_table
from trident.rights import require_writable


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders with the same test split.")],
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the comparison: .svg or .png.")] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Measure each run's largest batch under it, such as 4GiB; takes minutes."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare runs: quality with random, BM25 and pretrained beside it, and what each cost."""
    compare = need("train", "trident_train.report.compare")
    if plot is not None:
        compare.require_plot_suffix(plot)
        require_writable(plot)
    limit = None
    if memory_limit is not None:
        limit = need("train", "trident_train.loop.sizes").parse_size(memory_limit)
    comparison = compare.compare_runs(
        runs, memory_limit_bytes=limit, progress=lambda name: say(f"measuring the largest batch of {name}")
    )
    if plot is not None:
        need("train", "trident_train.report.comparison_plot").save_plot(comparison, plot)
        say(f"wrote {plot}")
    table = to_table(comparison)
    if json:
        print_json(table)
        return
    for name, arms in table["sources"].items():
        print_table(quality_table(f"held-out queries{f' of {name}' if name else ''}", arms))
    print_table(_cost_table(table["costs"], measured=limit is not None))
    if table["against_full"]:
        print_table(_against_full_table(table["against_full"], measured=limit is not None))


def _cost_table(costs: list[dict[str, Any]], *, measured: bool) -> Table:
    table = Table(title="costs", title_justify="left")
    table.add_column("run")
    headings = ["seconds an epoch", "pairs/s", *(["largest batch"] if measured else []), "peak memory"]
    for name in (*headings, "weights trained", "saved", "ROC-AUC below the best"):
        table.add_column(name, justify="right")
    for cost in costs:
        batch = [_figure(cost["largest_batch"], ",d")] if measured else []
        table.add_row(
            f"{cost['run']} ({cost['method']})",
            _figure(cost["epoch_seconds"], ",.2f"),
            _figure(cost["pairs_per_second"], ",.0f"),
            *batch,
            f"{cost['peak_memory_bytes'] / 1e6:,.0f} MB",
            f"{cost['trained_weights']:,} ({cost['trained_weights'] / cost['total_weights']:.2%})",
            f"{cost['saved_bytes'] / 1e6:,.2f} MB",
            f"{cost['auc_below_best_percent']:.2f}%",
        )
    return table


def _against_full_table(rows: list[dict[str, Any]], *, measured: bool) -> Table:
    table = Table(title="LoRA against full fine-tuning", title_justify="left")
    for name in ("run", "against"):
        table.add_column(name)
    sources = list(rows[0]["auc_loss_percent"])
    for source in sources:
        table.add_column(f"relative ROC-AUC loss{f', {source}' if source else ''}", justify="right")
    for name in ("faster an epoch", *(["larger batch"] if measured else [])):
        table.add_column(name, justify="right")
    for row in rows:
        losses = [f"{row['auc_loss_percent'][source]:+.2f}%" for source in sources]
        batch = [f"{row['batch_ratio']:.2f}x"] if measured else []
        table.add_row(row["run"], row["full"], *losses, f"{row['epoch_speedup']:.2f}x", *batch)
    return table


def _figure(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
