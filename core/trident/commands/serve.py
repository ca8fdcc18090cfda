"""``trident serve``: a real tritonserver in front of a generation."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from trident.commands.output import need, print_json, say
from trident.errors import ConfigError
from trident.generation.plan import DEFAULT_CACHE

AUTO = "auto"


def command(
    generations: Annotated[Path, typer.Option(help="The folder of generations.")] = Path("generations"),
    generation: Annotated[
        str | None, typer.Option(help="Id to serve; by default the one that served last, else the newest.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="HTTP.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="gRPC.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics.")] = 8002,
    variant: Annotated[
        str,
        typer.Option(help="cpu (one process), stages (three), onnxruntime, tensorrt, torch (their encoders), or auto."),
    ] = "cpu",
    plans: Annotated[Path, typer.Option(help="The --cache of trident engine, for tensorrt.")] = DEFAULT_CACHE,
    cache: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of the response cache: bytes, or such as 256MiB.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS of gRPC: the server's certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Let in only clients with a certificate of this authority.")
    ] = None,
    canary_share: Annotated[float, typer.Option(help="Share of queries that are searched exactly too, 0 to 1.")] = 0.0,
    query_log: Annotated[bool, typer.Option("--query-log", help="Write down what is searched for.")] = False,
    health_port: Annotated[int | None, typer.Option(help="HTTP port of /live and /ready; none by default.")] = None,
    health_period: Annotated[float, typer.Option(help="Seconds between two golden checks of /ready.")] = 30.0,
    start_timeout: Annotated[
        float, typer.Option(help="Seconds without progress, while it loads, until it is given up.")
    ] = 120.0,
    tuning: Annotated[
        str, typer.Option(metavar="auto|none|FILE", help="Settings that trident tune found for this machine.")
    ] = "auto",
    live: Annotated[
        bool, typer.Option("--live", help="Take changes of the catalogue: trident catalogue upsert, update, delete.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="With --live: follow the server that writes, until told to take over.")
    ] = False,
    auto_compact: Annotated[
        bool, typer.Option("--auto-compact", help="With --live: compact and promote when the tail is half full.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document when ready.")] = False,
) -> None:
    """Serve a generation until interrupted."""
    if auto_compact and not live:
        raise ConfigError("--auto-compact needs --live: there is nothing to compact without")
    serving, settings = need("serve", "trident.server.serving"), need("serve", "trident.generation.tuned_settings")
    folder = need("serve", "trident.generation.state").ServingFolder.of(generations, http_port)
    watch = need("serve", "trident.watch.options").WatchOptions(
        canary_share=canary_share, query_log=folder.query_log_path if query_log else None
    )
    options = serving.ServeOptions(
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        variant="cpu" if variant == AUTO else variant,
        plans=plans,
        start_timeout_s=start_timeout,
        cache_size_bytes=None if cache is None else serving.size_bytes(cache),
        tls=need("serve", "trident.server.tls").tls_files(tls_cert, tls_key, tls_client_ca),
        watch=watch,
        live=live,
        follow=follow,
    )
    processes = need("serve", "trident.processes.model_processes").ModelProcesses(folder)
    health = None
    if health_port is not None:  # before anything is started: it knows what it cannot be
        golden = need("serve", "trident.probe.golden_check")
        url = serving.urls_of(folder, options).http
        check = partial(golden.check_serving, generations, url)
        if live:
            tail = need("serve", "trident.probe.tail_check").TailCheck(generations, url)
            check = partial(golden.check_with, check, tail.require)
        health = need("serve", "trident.probe.health").HealthServer(
            host, health_port, check, period_s=health_period, faults=processes.faults
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = serving.prepare(generations, generation, http_port=http_port)
    say(f"starting generation {found.id} ({found.manifest.products:,} products)")
    try:
        if variant == AUTO:
            chosen = need("serve", "trident.server.variant").ready_variant(found, plans, report=say)
            options = replace(options, variant=chosen)
        tuned = settings.choose(generations, tuning, variant=options.variant, machine=settings.Machine.here())
        options = replace(options, tuning=tuned.settings)
        if tuned.line:
            say(tuned.line)
        with ExitStack() as running:
            server = running.enter_context(serving.serve(found, generations, options))
            processes.look(server.pid)  # all of them have just answered
            urls = server.urls
            if health is not None:
                running.enter_context(health)
                say(f"health: http://{host}:{health_port}/live and /ready")
            if json:
                document = {"generation": found.id, "serial": found.serial, "pid": server.pid}
                document["tuning"] = options.tuning.changes()
                print_json({**document, "http": urls.http, "grpc": urls.grpc, "metrics": urls.metrics})
            if live:
                key = need("serve", "trident.journal.folder").LiveFolder.of(generations).key_path
                verb = "may have this server take over" if follow else "may write"
                say(f"the catalogue is live; who has the key {key} {verb}")
            if auto_compact:
                by_itself = need("serve", "trident.compaction.by_itself").CompactionByItself
                running.enter_context(by_itself(generations, http_port, report=say))
            say(f"ready: gRPC {urls.grpc}, HTTP {urls.http}, metrics {urls.metrics}; Ctrl-C stops it")
            supervisor = need("serve", "trident.server.supervisor")
            supervisor.supervise(server, generations, options, processes=processes, report=say)
    except KeyboardInterrupt:
        say("stopped")
