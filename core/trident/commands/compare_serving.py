"""``trident compare-serving``: what two generations answer to the same queries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trident.commands.options import Column, Encoding, Gain, PositiveFrom, label_rule, reading_of
from trident.commands.output import need, print_json, print_table, say
from trident.config import to_table
from trident.data.reading import PAIR_COLUMNS, QUERY_COLUMNS
from trident.errors import ConfigError
from trident.generation.generation import find_generation
from trident.generation.staging import write_text
from trident.rights import require_writable

CHANGED_IN_TABLE = 10


def command(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Id of a generation.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Id of another.")],
    generations: Annotated[Path, typer.Option(help="The folder of generations.")] = Path("generations"),
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Queries: a .txt file, one a line, or a table's column query.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labelled pairs: their queries, and NDCG@10 by their labels.")
    ] = None,
    column: Column = None,
    encoding: Encoding = None,
    positive_from: PositiveFrom = None,
    gain: Gain = None,
    log: Annotated[int | None, typer.Option(metavar="N", min=1, help="The last N queries that were logged.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the comparison as a page.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the encoders; all cores by default.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare two generations in this process: overlap, score shift, latency, and the queries that changed most."""
    if sum(source is not None for source in (queries, pairs, log)) != 1:
        raise ConfigError("compare-serving needs one of --queries, --pairs and --log: where its queries come from")
    if pairs is None and (positive_from is not None or gain):
        raise ConfigError("--positive-from and --gain say what the labels of --pairs mean, got no --pairs")
    if log is not None and (column or encoding):
        raise ConfigError("--column and --encoding say how --queries or --pairs is read, got --log")
    if html is not None and not html.parent.is_dir():
        raise ConfigError(f"--html: the folder {html.parent} does not exist")
    if html is not None:
        require_writable(html)
    comparing = need("serve", "trident.comparison.serving_comparison")
    sources = need("serve", "trident.comparison.compared_queries")
    page = need("serve", "trident.comparison.comparison_page") if html is not None else None
    reading = reading_of(column, encoding, QUERY_COLUMNS if pairs is None else PAIR_COLUMNS)
    rule = label_rule("serve", positive_from, gain)
    judged = None if pairs is None else need("serve", "trident.data.pairs").read_pairs(pairs, reading, labels=rule)
    if judged is not None:
        asked, source = judged.queries, f"the labelled pairs {pairs}"
    elif queries is not None:
        asked, source = sources.read_queries(queries, reading), f"the file {queries}"
    else:
        asked, source = sources.logged_queries(generations, log), f"the last {log:,} that were logged"
    sides = [find_generation(generations, generation) for generation in (old, new)]
    for side in sides:
        side.verify_files()
    if judged is not None:
        for side in sides:
            if missing := comparing.products_missing(judged, side, pairs):
                say(f"note: {missing}")
    compared = comparing.compare_generations(*sides, asked, pairs=judged, threads=threads or os.cpu_count() or 1)
    if html is not None and page is not None:
        write_text(html, page.render_comparison(compared, source=source))
        say(f"wrote {html}")
    table = to_table(compared)
    if json:
        print_json(table)
        return
    print_table(_figures(table))
    if table["changed"]:
        print_table(_changed(table["changed"][:CHANGED_IN_TABLE]))


def _figures(compared: dict[str, Any]) -> Table:
    title = f"{compared['queries']:,} queries; {compared['same']:,} show the same products in the same order"
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    old, new = compared["old"], compared["new"]
    for name in (f"old {old['id']}", f"new {new['id']}", "change", "95% interval"):
        table.add_column(name, justify="right")
    table.add_row("products", f"{old['products']:,}", f"{new['products']:,}", "", "")
    table.add_row("overlap@10", "", "", f"{compared['overlap_at_10']:.4f}", "")
    table.add_row("rank-biased overlap", "", "", f"{compared['rbo']:.4f}", "")
    for name, key in (("NDCG@10", "ndcg_at_10"), ("best score", "best_score"), ("mean score", "mean_score")):
        change = compared[key]
        if change is not None:
            interval = f"{change['low']:+.4f} to {change['high']:+.4f}"
            table.add_row(name, f"{old[key]:.4f}", f"{new[key]:.4f}", f"{change['value']:+.4f}", interval)
    for name, key in (("median ms", "median_ms"), ("95% ms", "p95_ms")):
        was, now = old["latency"][key], new["latency"][key]
        table.add_row(name, f"{was:.2f}", f"{now:.2f}", f"{now / was:.2f}x", "")
    return table


def _changed(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="queries that changed most", title_justify="left")
    for name in ("query", "overlap@10", "RBO", "first product of old", "first product of new"):
        table.add_column(name, justify="right" if name in ("overlap@10", "RBO") else "left")
    for row in rows:
        first = [side[0]["title"] if side else "-" for side in (row["old"], row["new"])]
        table.add_row(row["query"], f"{row['overlap_at_10']:.2f}", f"{row['rbo']:.2f}", *first)
    return table
