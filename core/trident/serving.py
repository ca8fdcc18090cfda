"""Puts a tritonserver in front of a generation.

The server reads a runtime repository, ``<generations>/.serving/<HTTP port>/``: configurations are copied there, and
the files of version folders are links into the generation, so that a generation itself is never written to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from trident.errors import ConfigError
from trident.generation import Generation, find_generation
from trident.server import ServerConfig, TritonServer

Variant = Literal["cpu", "onnxruntime", "tensorrt"]
ENSEMBLES = ("search", "embed")


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

    def __post_init__(self) -> None:
        """Check the variant; ports are checked by the server."""
        if self.variant not in get_args(Variant):
            raise ConfigError(f"--variant must be one of {', '.join(get_args(Variant))}, got '{self.variant}'")


def prepare(generations: Path, generation: str | None = None) -> Generation:
    """Return the generation to serve, its files checked against the manifest.

    Raises:
        GenerationError: If there is none, or a file was changed.
    """
    found = find_generation(generations, generation)
    found.verify_files()
    return found


@contextmanager
def serve(generation: Generation, generations: Path, options: ServeOptions) -> Iterator[TritonServer]:
    """Yield a running server that is ready to answer, and stop it at the end.

    Raises:
        ServerError: If a port is taken or the server does not start; its own error lines are in the message.
    """
    repository = generations / ".serving" / str(options.http_port)
    config = ServerConfig(
        model_repository=repository,
        load_models=ENSEMBLES,
        host=options.host,
        http_port=options.http_port,
        grpc_port=options.grpc_port,
        metrics_port=options.metrics_port,
        model_config_name=None if options.variant == "tensorrt" else options.variant,
        cache_size_bytes=options.cache_size_bytes,
        start_timeout_s=options.start_timeout_s,
    )
    server = TritonServer(config)
    server.check_ports()
    link_generation(generation, repository)
    try:
        with server:
            yield server
    finally:
        shutil.rmtree(repository, ignore_errors=True)


def link_generation(generation: Generation, repository: Path) -> None:
    """Make a runtime repository that holds one generation."""
    shutil.rmtree(repository, ignore_errors=True)
    for source in sorted(path for path in generation.repository.iterdir() if path.is_dir()):
        target = repository / source.name
        target.mkdir(parents=True)
        shutil.copyfile(source / "config.pbtxt", target / "config.pbtxt")
        if (source / "configs").is_dir():
            shutil.copytree(source / "configs", target / "configs")
        version = str(generation.serial)
        (target / version).mkdir()
        for file in (source / version).iterdir():
            (target / version / file.name).symlink_to(file.resolve())
        (target / version / "__pycache__").touch()  # a file, so that Python cannot leave byte code there
