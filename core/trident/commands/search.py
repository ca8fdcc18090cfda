"""``trident search``: ask a running server."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from trident.commands.output import compact, need, print_json, print_table, say
from trident.commands.search_lines import answer_lines
from trident.errors import ConfigError, ServerError

LINES = "-"  # instead of a query
STDIN = 0


def command(
    query: Annotated[str, typer.Argument(help='Such as "deep learning books"; - reads one a line of standard input.')],
    k: Annotated[int, typer.Option("-k", help="Products to find, 1 to 1000.")] = 10,
    url: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = "127.0.0.1:8001",
    protocol: Annotated[
        Literal["grpc", "http"] | None,
        typer.Option(help="What the port speaks; else as the url's scheme says, or gRPC."),
    ] = None,
    ef: Annotated[int | None, typer.Option(help="Search effort; more finds more and takes longer.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out products with a lower cosine.")] = None,
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
    client_package = need("serve", "trident_client")
    more = None if options is None else _read_options(options)
    try:
        wanted = tls_ca or tls_cert or tls_key
        tls = client_package.Tls(ca=tls_ca, certificate=tls_cert, key=tls_key) if wanted else None
        with client_package.SearchClient(url, protocol=protocol, timeout_s=timeout, tls=tls) as client:
            if query == LINES:
                answer_lines(partial(_ask, client, {"k": k, "ef": ef, "min_score": min_score, "options": more}), STDIN)
                return
            result = client.search(query, k=k, ef=ef, min_score=min_score, options=more)
    except client_package.ClientError as error:
        raise ServerError(str(error)) from error
    if json:
        print_json(dataclasses.asdict(result))
        return
    table = Table(title=f'"{query}"', title_justify="left")
    table.add_column("score", justify="right")
    table.add_column("product_id")
    table.add_column("title", overflow="fold")
    for hit in result.hits:
        table.add_row(f"{hit.score:.4f}", hit.product_id, hit.title)
    print_table(table)
    if result.details:
        say(f"details: {compact(result.details)}", style="dim")
    say(f"{len(result.hits)} products, generation {result.generation} (version {result.model_version})", style="dim")


def _ask(client: Any, wanted: dict[str, Any], queries: Sequence[str]) -> Any:
    client_package = need("serve", "trident_client")
    try:
        return client.search_many(queries, **wanted)
    except client_package.ClientError as error:
        raise ServerError(str(error)) from error


def _read_options(text: str) -> dict[str, Any]:
    try:
        found = loads(text)
    except (JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"--options must be one JSON object such as '{{}}', got '{text[:60]}' ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"--options must be one JSON object such as '{{}}', got '{text[:60]}'")
    return found
