"""``trident gateway``: JSON over HTTP beside a running server; ``trident ui``: the same, with a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trident.commands.output import need, say
from trident.errors import ConfigError

Url = Annotated[str, typer.Option(help="HOST:PORT of the server; grpc://, http:// and the like in front.")]
Host = Annotated[str, typer.Option(help="Address to listen at.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")]
ApiKeyFile = Annotated[Path | None, typer.Option(help="File with the key that callers must send.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer of the server.")]
Retries = Annotated[int, typer.Option(help="Repeats where the server is not there or overloaded.")]
TlsCa = Annotated[Path | None, typer.Option(help="TLS to the server: certificates of the authority.")]


def command(
    url: Url = "127.0.0.1:8001",
    host: Host = "127.0.0.1",
    port: Port = 8080,
    api_key_file: ApiKeyFile = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A web origin whose pages may call; none by default.")
    ] = None,
    timeout: Timeout = 10.0,
    retries: Retries = 0,
    tls_ca: TlsCa = None,
) -> None:
    """Answer searches and embeddings as JSON over HTTP."""
    given = {"url": url, "timeout_s": timeout, "origins": tuple(cors or ())}
    server, config = _prepared(given, api_key_file, retries, tls_ca)
    listening = _listening(server, host, port)
    say(f"gateway to {url} at http://{host}:{port}: POST /search, POST /v1/embeddings, GET /healthz, GET /openapi.json")
    server.run(config, listening)


def page(
    url: Url = "127.0.0.1:8001",
    compare: Annotated[
        str | None, typer.Option(metavar="URL", help="Another server, whose answers are shown beside.")
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    api_key_file: ApiKeyFile = None,
    timeout: Timeout = 10.0,
    retries: Retries = 0,
    tls_ca: TlsCa = None,
) -> None:
    """Serve a page to search with, and all that trident gateway answers."""
    given = {"url": url, "timeout_s": timeout, "page": True, "other_url": compare}
    server, config = _prepared(given, api_key_file, retries, tls_ca)
    listening = _listening(server, host, port)
    say(f"search at http://{host}:{port}/")
    server.run(config, listening)


def _prepared(given: dict[str, Any], api_key_file: Path | None, retries: int, tls_ca: Path | None) -> tuple[Any, Any]:
    """Return what serves, and its configuration, which was checked.

    Raises:
        ConfigError: If something breaks a rule.
    """
    client = need("gateway", "trident_client")
    gateway = need("gateway", "trident_gateway")
    server = need("gateway", "trident_gateway.serve")
    if api_key_file is not None:
        given["api_key"] = _read_key(api_key_file)
    try:
        given["behaviour"] = client.Behaviour(retries=retries)
        given["tls"] = None if tls_ca is None else client.Tls(ca=tls_ca)
        config = gateway.GatewayConfig(**given)
        gateway.create_app(config)
    except (ValueError, client.ClientError) as error:
        raise ConfigError(str(error)) from error
    return server, config


def _listening(server: Any, host: str, port: int) -> Any:
    """Return the socket, before anything is said: what is printed first is then true.

    Raises:
        ConfigError: If nothing can listen there.
    """
    try:
        return server.listen(host, port)
    except OSError as error:
        raise ConfigError(
            f"--host and --port must be an address of this machine where nobody listens, got {host}:{port} "
            f"({error.strerror or error}): take another --port"
        ) from error


def _read_key(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--api-key-file must be a text file with one key, got {path} ({error})") from error
