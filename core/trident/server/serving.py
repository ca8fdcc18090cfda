"""Puts a tritonserver in front of a generation.

The server reads a runtime repository in ``<generations>/.serving/<HTTP port>/`` (see ``trident.generation.state``), so
that a generation itself is never written to.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from trident.cluster.store import store_of
from trident.errors import ConfigError, GenerationError, MissingExtraError, ServerError
from trident.generation.generation import Generation, find_generation, generation_by_id
from trident.generation.plan import DEFAULT_CACHE, served_plan
from trident.generation.state import ServerRecord, ServingFolder, now
from trident.generation.tuning import UNTUNED, VARIANT, Tuning
from trident.probe.control import KEY_HEADER, RESTRICTED, ModelControl
from trident.probe.golden_check import check_golden, fault_of
from trident.retrieval.live_retriever import LIVE
from trident.rules.serving import environment as rules_environment
from trident.rules.serving import freeze, require_rules, thaw
from trident.server.live_serving import OPTIONS as LIVE_OPTIONS
from trident.server.live_serving import (
    add_writer,
    environment,
    prepare_following,
    prepare_live,
    require_live,
    require_no_log_beyond,
    say_who_leads,
    start_writer,
)
from trident.server.models import ENSEMBLES, ensembles_in, further_models
from trident.server.runtime_repository import check_identities, lay_out, remove_repository
from trident.server.second_stage import environment as reranking
from trident.server.second_stage import require_second_stage
from trident.server.server import ServerConfig, ServerUrls, TritonServer
from trident.server.tls import TlsFiles
from trident.server.variant import torch_fault
from trident.watch.options import WatchOptions

Variant = Literal["cpu", "stages", "onnxruntime", "tensorrt", "torch"]
ON_CPU = ("cpu", "stages")  # run the graph that golden answers are of, whatever its precision
TORCH_MODEL = "torch_model.py"  # of the encoder, for the variant torch
log = logging.getLogger(__name__)

UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where to listen and how to run the encoder."""

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    variant: str = "cpu"  # one of Variant
    cache_size_bytes: int | None = None  # None: no response cache
    start_timeout_s: float = 120.0
    plans: Path = DEFAULT_CACHE  # the cache of trident engine, for the variant tensorrt
    tls: TlsFiles | None = None  # of gRPC
    watch: WatchOptions = field(default_factory=WatchOptions)
    tuning: Tuning = UNTUNED  # of the variant cpu
    live: bool = False  # whether the catalogue is live
    follow: bool = False  # whether another server writes to it, until this one takes over

    def __post_init__(self) -> None:
        """Check the variant and that it has knobs where some are set; ports are checked by the server."""
        if self.variant not in get_args(Variant):
            raise ConfigError(f"--variant must be one of {', '.join(get_args(Variant))}, got '{self.variant}'")
        if self.tuning != UNTUNED and self.variant != VARIANT:
            raise ConfigError(f"tuned settings are for --variant {VARIANT}, got {self.variant} with {self.tuning}")

        if self.follow and not self.live:
            raise ConfigError("--follow needs --live: it follows the live catalogue of another server")
        if self.live:
            require_live(variant=self.variant, cache=self.cache)

    @property
    def cache(self) -> bool:
        """Whether answers are cached."""
        return self.cache_size_bytes is not None


def size_bytes(text: str) -> int:
    """Return the bytes of a size such as ``"1048576"``, ``"64MiB"`` or ``"2GiB"``.

    Raises:
        ConfigError: If it is no such size.
    """
    found = re.fullmatch(r"(\d+)\s*(|KiB|MiB|GiB)", text.strip())
    if found is None:
        raise ConfigError(f"--cache must be bytes, or a number of KiB, MiB or GiB such as 256MiB, got '{text}'")
    size = int(found[1]) * UNITS[found[2]]
    if size == 0:
        raise ConfigError(f"--cache must be at least one byte, got '{text}': leave it out for none")
    return size


def prepare(generations: Path, generation: str | None = None, *, http_port: int = 8000) -> Generation:
    """Return the generation to serve, its id, files and models' identities checked against the manifest.

    Args:
        generations: The folder of generations.
        generation: An id; None: the one that served last on the port, else the newest.
        http_port: Of the server.

    Raises:
        GenerationError: If there is none, or something was changed.
        ServerError: If the state of the port is damaged.
    """
    if generation is not None:
        found = generation_by_id(generations, generation)
    else:
        state = ServingFolder.of(generations, http_port).state()
        newest_or_last = find_generation(generations).id if state is None else state.serving
        found = generation_by_id(generations, newest_or_last)
    found.check_files()
    check_identities(found)
    return found


def require_stored(generation: Generation, *, cache: bool) -> None:
    """Raise if a generation's products are to be in a store, and are not, or answers from there would be kept.

    Raises:
        StoreError: If the store is away, or lacks some.
        ConfigError: If answers are cached.
    """
    if store_of(generation) is not None:
        if cache:
            raise ConfigError(
                f"--cache and a store exclude each other (generation {generation.id}): the response cache does not see "
                "what another server wrote; serve it without --cache"
            )
        from trident.cluster.loaded import require_loaded  # a store's client is an extra

        require_loaded(generation)


def require_not_behind(candidate: Generation, serving: Generation) -> None:
    """Raise if what was written is in the store's collection of one generation, and not in that of another.

    Raises:
        StoreError: If the store is away, or lacks what was written.
    """
    if store_of(candidate) is not None:
        from trident.cluster.loaded import require_written  # a store's client is an extra

        require_written(candidate, serving)


@contextmanager
def serve(generation: Generation, generations: Path, options: ServeOptions) -> Iterator[TritonServer]:
    """Yield a running server that is ready to answer, and stop it at the end.

    Raises:
        GenerationError: If a plan is to be served and there is none that fits, or the variant does not run the graph
            that is served.
        ServerError: If another serves on the port, a port is taken, the server does not start (its own error lines are
            in the message), or it answers the golden queries otherwise than stored.
    """
    folder = ServingFolder.of(generations, options.http_port)
    with folder.serve_lock():
        folder.remove_server()  # of one that was killed
        TritonServer(server_config(folder, options, key="")).check_ports()
        plan_of(generation, options.variant, options.plans)  # before anything is written
        require_stored(generation, cache=options.cache)
        require_second_stage(generation, variant=options.variant, cache=options.cache)
        require_rules(generations, variant=options.variant)
        if options.follow:
            prepare_following(generations, generation, report=log.info)
        elif options.live:
            prepare_live(generations, generation, report=log.info)
        else:
            require_no_log_beyond(generations, generation)
        server = TritonServer(server_config(folder, options, key=folder.make_key()))
        try:
            start_serving(server, folder, generation, options)
            yield server
        finally:
            server.stop()
            folder.remove_server()
            folder.remove_processes()
            thaw(folder)
            folder.key_path.unlink(missing_ok=True)
            remove_repository(folder.models)


def start_serving(server: TritonServer, folder: ServingFolder, generation: Generation, options: ServeOptions) -> None:
    """Start a stopped server with a generation, prove it, and write down that it serves and where it listens.

    Raises:
        GenerationError: If a plan is to be served and there is none that fits.
        ServerError: If it does not start, or answers the golden queries otherwise than stored; it is stopped again.
    """
    lay_out(
        folder.models,
        generation,
        variant=options.variant,
        cache=options.cache,
        plan=plan_of(generation, options.variant, options.plans),
        tuning=options.tuning,
    )
    if options.live:
        add_writer(folder.models)
    if options.cache:
        freeze(folder)
    with ExitStack() as undo:
        undo.callback(server.stop)
        server.start()
        for model in (*further_models(folder.models), *ensembles_in(folder.models)[len(ENSEMBLES) :]):
            control_of(server, folder).load(model)
        prove(server, generation, options)
        state = folder.state()
        if state is None or state.serving != generation.id:
            folder.write_state(generation.id, None if state is None else state.serving)
        if options.live:  # once it is known which generation serves
            start_writer(control_of(server, folder))
        announce(folder, server, options)
        if options.live and not options.follow:
            say_who_leads(folder.path.parents[1], folder)
        undo.pop_all()


def prove(server: TritonServer, generation: Generation, options: ServeOptions) -> None:
    """Raise unless a server that has started answers the golden queries of its generation as stored.

    Raises:
        ServerError: With the first differences.
        GenerationError: If the golden answers are missing or damaged.
    """
    report = check_golden(server.urls.http, generation, variant=options.variant)
    fault = fault_of(report, when="at the start")
    if fault is not None:
        raise ServerError(f"{fault}: serve another with --generation ID, or export on the kind of machine that serves")


def plan_of(generation: Generation, variant: str, plans: Path) -> Path | None:
    """Return the checked plan that a generation's encoder runs; None for a variant that runs none.

    Raises:
        GenerationError: If a plan is to be served and there is none that fits, or the variant runs another graph than
            the one that the golden answers are of, or was exported before it could.
        MissingExtraError: If what the variant runs with is not installed.
    """
    if variant not in ON_CPU and generation.served_precision != "fp32":
        raise GenerationError(
            f"generation {generation.id} is served in {generation.served_precision}, which its golden answers are of "
            f"and only --variant cpu runs, got {variant}: serve it so, or export with precision.served=fp32"
        )
    if variant == "torch":
        if (fault := torch_fault()) is not None:
            raise MissingExtraError(fault)
        if not (generation.version_folder("encoder") / TORCH_MODEL).is_file():
            raise GenerationError(
                f"generation {generation.id} must hold {TORCH_MODEL} for --variant torch, got none: an earlier Trident "
                "exported it, export again"
            )
    return served_plan(generation, plans) if variant == "tensorrt" else None


def server_config(folder: ServingFolder, options: ServeOptions, *, key: str) -> ServerConfig:
    """Return how tritonserver is run over a folder; only who has the key may load and unload models."""
    return ServerConfig(
        model_repository=folder.models,
        load_models=ENSEMBLES,
        host=options.host,
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        model_config_name=None if options.variant == "tensorrt" else options.variant,
        cache_size_bytes=options.cache_size_bytes,
        start_timeout_s=options.start_timeout_s,
        options=(
            f"--http-restricted-api={RESTRICTED}:{KEY_HEADER}={key}",
            f"--grpc-restricted-protocol={RESTRICTED}:{KEY_HEADER}={key}",
            *(LIVE_OPTIONS if options.live else ()),
        ),
        tls=options.tls,
        environment=options.watch.environment()
        | live_environment(folder, options)
        | reranking(cache=options.cache)
        | rules_environment(folder, cache=options.cache),
    )


def live_environment(folder: ServingFolder, options: ServeOptions) -> dict[str, str]:
    """Return the variables that tell the served models whether the catalogue is live."""
    return environment(folder.path.parents[1], folder, follow=options.follow) if options.live else {LIVE: ""}


def urls_of(folder: ServingFolder, options: ServeOptions) -> ServerUrls:
    """Return where a server of these options will listen."""
    return TritonServer(server_config(folder, options, key="")).urls


def control_of(server: TritonServer, folder: ServingFolder) -> ModelControl:
    """Return what loads models of a server: over gRPC, but where that has TLS."""
    urls = server.urls
    return ModelControl(url=urls.http, key=folder.key(), grpc=urls.grpc if server.config.tls is None else None)


def announce(folder: ServingFolder, server: TritonServer, options: ServeOptions) -> None:
    """Write where a server that is ready listens."""
    urls = server.urls
    folder.write_server(
        ServerRecord(
            http=urls.http,
            grpc=urls.grpc,
            metrics=urls.metrics,
            variant=options.variant,
            plans=str(options.plans),
            cache=options.cache,
            tuning=options.tuning,
            live=options.live,
            tls=options.tls is not None,
            supervisor_pid=os.getpid(),
            tritonserver_pid=server.pid,
            started_at=now(),
        )
    )
