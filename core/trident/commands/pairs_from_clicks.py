"""``trident pairs-from-clicks``: training pairs from a query log and what people clicked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trident.commands.output import need, print_json, say
from trident.data.reading import Reading, parse_columns
from trident.errors import ConfigError


def command(
    log: Annotated[Path, typer.Argument(help="A query log (queries.jsonl), or a folder of generations with its logs.")],
    clicks: Annotated[Path, typer.Argument(help="A table with the columns id (of the answer) and product_id.")],
    out: Annotated[Path, typer.Option(help="CSV file to write the pairs into.")] = Path("pairs.csv"),
    min_impressions: Annotated[int, typer.Option(help="How often a product was shown for a query, at least.")] = 10,
    relevant_from: Annotated[
        float, typer.Option(help="Clicks, as a multiple of those that its places get, from which it is relevant.")
    ] = 1.0,
    column: Annotated[
        list[str] | None, typer.Option(metavar="NAME=COLUMN", help="The clicks' own name of a column.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of the clicks' file, where it is not UTF-8.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Turn a query log and the clicks on its answers into pairs that trident train reads."""
    from_clicks = need("serve", "trident.data.clicks")
    rule = from_clicks.ClickRule(min_impressions=min_impressions, relevant_from=relevant_from)
    if not out.parent.is_dir():
        raise ConfigError(f"--out must be in a folder that is there, got {out}")
    reading = Reading(columns=parse_columns(column or [], from_clicks.CLICK_COLUMNS), encoding=encoding)
    impressions = from_clicks.read_impressions(log)
    found = from_clicks.pairs_from_clicks(impressions, from_clicks.read_clicks(clicks, reading), rule)
    found.save(out)
    figures = {
        "pairs": len(found.pairs),
        "relevant": sum(pair.is_relevant for pair in found.pairs),
        "answers": len(impressions),
        "few_impressions": found.few_impressions,
        "unknown_clicks": found.unknown_clicks,
    }
    if json:
        print_json({"file": str(out), **figures})
        return
    say(
        f"wrote {out}: {figures['pairs']:,} pairs, {figures['relevant']:,} relevant, of {len(impressions):,} answers; "
        f"{found.few_impressions:,} pairs were shown fewer than {min_impressions} times, {found.unknown_clicks:,} "
        "clicks are of no answer of the log"
    )
