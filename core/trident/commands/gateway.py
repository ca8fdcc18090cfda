"""``trident gateway``: JSON over HTTP beside a running server, and embeddings for the openai SDK."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trident.commands.output import need, say
from trident.errors import ConfigError


def command(
    url: Annotated[str, typer.Option(help="HOST:PORT of the server; grpc://, http:// and the like in front.")] = (
        "127.0.0.1:8001"
    ),
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8080,
    api_key_file: Annotated[Path | None, typer.Option(help="File with the key that callers must send.")] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A web origin whose pages may call; none by default.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer of the server.")] = 10.0,
    retries: Annotated[int, typer.Option(help="Repeats where the server is not there or overloaded.")] = 0,
    tls_ca: Annotated[Path | None, typer.Option(help="TLS to the server: certificates of the authority.")] = None,
) -> None:
    """Answer searches and embeddings as JSON over HTTP."""
    client = need("gateway", "trident_client")
    gateway = need("gateway", "trident_gateway")
    server = need("gateway", "trident_gateway.serve")
    given: dict[str, Any] = {"url": url, "timeout_s": timeout, "origins": tuple(cors or ())}
    if api_key_file is not None:
        given["api_key"] = _read_key(api_key_file)
    try:
        given["behaviour"] = client.Behaviour(retries=retries)
        given["tls"] = None if tls_ca is None else client.Tls(ca=tls_ca)
        config = gateway.GatewayConfig(**given)
        gateway.create_app(config)
    except (ValueError, client.ClientError) as error:
        raise ConfigError(str(error)) from error
    say(f"gateway to {url} at http://{host}:{port}: POST /search, POST /v1/embeddings, GET /healthz, GET /openapi.json")
    server.run(config, host=host, port=port)


def _read_key(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-key-file must be a text file with one key, got {path} ({error})") from error
