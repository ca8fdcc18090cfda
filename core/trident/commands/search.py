"""``trident search``: ask a running server."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from trident.commands.output import compact, need, print_json, print_table, say
from trident.commands.search_lines import answer_lines
from trident.errors import ConfigError, ServerError

SHOWN = ("attributes", "facets", "probability", "explain", "corrected", "weak", "timings_ms", "timings_of")  # elsewhere
PARTS = ("fused", "bm25", "dense_rank", "lexical_rank")  # of an explanation, beside the cosine
OF_RERANKER = ("logit", "mixed")  # of an explanation where a second stage put products in order
LINES = "-"  # instead of a query
STDIN = 0


def command(
    context: typer.Context,
    query: Annotated[
        str,
        typer.Argument(
            help='Such as "deep learning books"; - reads one a line of standard input; none: browse, or products '
            "like another."
        ),
    ] = "",
    k: Annotated[int, typer.Option("-k", help="Products to find, 1 to 1000.")] = 10,
    url: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = "127.0.0.1:8001",
    protocol: Annotated[
        Literal["grpc", "http"] | None,
        typer.Option(help="What the port speaks; else as the url's scheme says, or gRPC."),
    ] = None,
    ef: Annotated[int | None, typer.Option(help="Search effort; more finds more and takes longer.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out products with a lower cosine.")] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help='What leaves products out, such as {"brand": ["HP", "Dell"]}.'),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="A filter in short: brand=HP, 'price<500', color!=red; all must hold."),
    ] = None,
    fields: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Attributes to show beside each product.")
    ] = None,
    facets: Annotated[str | None, typer.Option(metavar="NAME,...", help="Attributes whose values are counted.")] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Attributes instead of the score; -price: largest first.")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="An attribute: one product of each value.")] = None,
    offset: Annotated[int, typer.Option(help="Products left out at the front: the next page.")] = 0,
    like: Annotated[str | None, typer.Option(metavar="ID", help="Products like this one, instead of a query.")] = None,
    min_probability: Annotated[
        float | None, typer.Option(help="Leave out products that are less likely relevant, 0 to 1.")
    ] = None,
    rerank: Annotated[
        int | None, typer.Option(help="Products that the reranker puts in order, 0 for none; else the generation's.")
    ] = None,
    rerank_budget: Annotated[float | None, typer.Option(metavar="MS", help="Milliseconds for that at most.")] = None,
    rules: Annotated[bool, typer.Option("--rules/--no-rules", help="By the merchandisers' rules, or without.")] = True,
    mode: Annotated[
        Literal["hybrid", "dense", "lexical"] | None,
        typer.Option(help="What ranks: vectors and words, vectors, or words; else what the generation chose."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what decided the place of each product.")] = False,
    spelling: Annotated[
        bool, typer.Option("--spelling/--no-spelling", help="Correct words that the catalogue lacks.")
    ] = True,
    timings: Annotated[bool, typer.Option("--timings", help="Show how long the server's stages took.")] = False,
    options: Annotated[
        str | None, typer.Option(metavar="JSON", help="What the generation knows beyond these: one JSON object.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 10.0,
    tls_ca: Annotated[Path | None, typer.Option(help="TLS: certificates of the authority to trust.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS: your own certificate, where the server asks.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find products for a query, or for each line of standard input."""
    if not query.strip() and not offset and not any((filter_, where, fields, facets, sort, group, like, options)):
        context.fail("Missing argument 'QUERY': a query, or --like, --where, --sort or another to browse by")
    client_package = need("serve", "trident_client")
    more = None if options is None else _read_object(options, "--options", "{}")
    narrowed = None if filter_ is None else _read_object(filter_, "--filter", '{"brand": "HP"}')
    if where:
        short = need("serve", "trident.attributes.where").filter_of(where)
        narrowed = short if narrowed is None else _both(narrowed, short)
    try:
        wanted = tls_ca or tls_cert or tls_key
        tls = client_package.Tls(ca=tls_ca, certificate=tls_cert, key=tls_key) if wanted else None
        with client_package.SearchClient(url, protocol=protocol, timeout_s=timeout, tls=tls) as client:
            narrow = {
                "filter": narrowed,
                "fields": _names(fields),
                "facets": _names(facets),
                "sort": _names(sort),
                "group": group,
                "offset": offset,
                "like": like,
                "min_probability": min_probability,
                "rerank": rerank,
                "rerank_budget_ms": rerank_budget,
            }
            ranked = {"mode": mode, "explain": explain, "spelling": spelling, "timings": timings}
            if query == LINES:
                given = {name: value for name, value in narrow.items() if value or (value == 0 and name != "offset")}
                every = {**(more or {}), **given, **({} if rules else {"rules": False})}
                wanted_of_each = {"k": k, "ef": ef, "min_score": min_score, **ranked, "options": every}
                answer_lines(partial(_ask, client, wanted_of_each), STDIN)
                return
            ranked["rules"] = rules
            result = client.search(query, k=k, ef=ef, min_score=min_score, options=more, **narrow, **ranked)
    except client_package.ClientError as error:
        raise ServerError(str(error)) from error
    if json:
        print_json(dataclasses.asdict(result))
        return
    if result.corrected:
        say(f"searched instead: {result.corrected}")
    print_table(_hit_table(query, result, _names(fields) or []))
    for name, counts in result.facets.items():
        print_table(_facet_table(name, counts))
    if result.weak:
        say("hardly an answer like this one holds what was looked for", style="yellow")
    if timings:
        say(f"stages: {_stages(result.timings_ms)}", style="dim")
    details = {name: value for name, value in result.details.items() if name not in SHOWN}
    if details:
        say(f"details: {compact(details)}", style="dim")
    say(f"{len(result.hits)} products, generation {result.generation} (version {result.model_version})", style="dim")


def _stages(timings_ms: Mapping[str, float] | None) -> str:
    if timings_ms is None:
        return "none of this search, whose answer is of the response cache"
    return ", ".join(f"{name} {value:.2f} ms" for name, value in timings_ms.items())


def _hit_table(query: str, result: Any, fields: list[str]) -> Table:
    table = Table(title=f'"{query}"' if query.strip() else None, title_justify="left")
    table.add_column("score", justify="right")
    likely = any(hit.probability is not None for hit in result.hits)
    if likely:
        table.add_column("relevant", justify="right")
    table.add_column("product_id")
    table.add_column("title", overflow="fold")
    parts = PARTS if any(hit.explain for hit in result.hits) else ()
    if any(hit.explain.get("reranker") for hit in result.hits):
        parts = (*parts, *OF_RERANKER)
    for name in (*fields, *parts):
        table.add_column(name, overflow="fold")
    for hit in result.hits:
        more = (_cell(hit.attributes.get(name)) for name in fields)
        chance = () if not likely else ("" if hit.probability is None else f"{hit.probability:.0%}",)
        explained = {**hit.explain, **(hit.explain.get("reranker") or {})}
        own = (_number(explained.get(name)) for name in parts)
        table.add_row(f"{hit.score:.4f}", *chance, hit.product_id, hit.title, *more, *own)
    return table


def _facet_table(name: str, counts: dict[str, Any]) -> Table:
    table = Table(title=name, title_justify="left")
    table.add_column("value", overflow="fold")
    table.add_column("products", justify="right")
    for each in counts.get("values", []):
        table.add_row(_cell(each["value"]), f"{each['count']:,}")
    for each in counts.get("ranges", []):
        low, high = (f"{each[bound]:g}" if bound in each else "" for bound in ("gte", "lt"))
        table.add_row(
            f"{low} to {high}" if low and high else f"from {low}" if low else f"below {high}", f"{each['count']:,}"
        )
    if counts["missing"]:
        table.add_row("(none)", f"{counts['missing']:,}")
    return table


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(value)
        case _:
            return str(value)


def _number(value: float | int | None) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return the filter of what passes both."""
    return {"all": [one, other]}


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _ask(client: Any, wanted: dict[str, Any], queries: Sequence[str]) -> Any:
    client_package = need("serve", "trident_client")
    try:
        return client.search_many(queries, **wanted)
    except client_package.ClientError as error:
        raise ServerError(str(error)) from error


def _read_object(text: str, option: str, example: str) -> dict[str, Any]:
    try:
        found = loads(text)
    except (JSONDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{option} must be one JSON object such as '{example}', got '{text[:60]}' ({error})"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{option} must be one JSON object such as '{example}', got '{text[:60]}'")
    return found
