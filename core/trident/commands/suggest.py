"""``trident suggest``: what somebody may be about to type."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from trident.commands.output import need, print_json, print_table, say
from trident.errors import ServerError


def command(
    prefix: Annotated[str, typer.Argument(help='What was typed so far, such as "usb c h".')],
    k: Annotated[int, typer.Option("-k", help="Suggestions, 1 to 100.")] = 10,
    url: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = "127.0.0.1:8001",
    protocol: Annotated[
        Literal["grpc", "http"] | None,
        typer.Option(help="What the port speaks; else as the url's scheme says, or gRPC."),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 10.0,
    tls_ca: Annotated[Path | None, typer.Option(help="TLS: certificates of the authority to trust.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Complete a query by what others asked and by phrases of the catalogue."""
    client_package = need("serve", "trident_client")
    try:
        tls = None if tls_ca is None else client_package.Tls(ca=tls_ca)
        with client_package.SearchClient(url, protocol=protocol, timeout_s=timeout, tls=tls) as client:
            result = client.suggest(prefix, k=k)
    except client_package.ClientError as error:
        raise ServerError(str(error)) from error
    if json:
        print_json(dataclasses.asdict(result))
        return
    table = Table(title=f'"{prefix}"', title_justify="left")
    table.add_column("suggestion", overflow="fold")
    table.add_column("source")
    for each in result.suggestions:
        table.add_row(each.text, each.source)
    print_table(table)
    say(
        f"{len(result.suggestions)} suggestions, generation {result.generation} (version {result.model_version})",
        style="dim",
    )
