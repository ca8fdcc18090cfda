"""Real tritonservers, one for each export, started once and stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from trident.generation import find_generation
from trident.server import TritonServer, free_ports
from trident.serving import ServeOptions, serve
from trident_export.config import ExportConfig
from trident_export.pipeline import export_generation
from trident_train.recipe import DataRecipe, TrainRecipe
from trident_train.run import train
from trident_train.sample import write_sample


def start(generations: Path) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(find_generation(generations), generations, options) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_server(tiny_generations: Path) -> Iterator[TritonServer]:
    """Return a server of the tiny generation: 144 products."""
    yield from start(tiny_generations)


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundled sample."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample(folder)
    return folder


@pytest.fixture(scope="session")
def sample_generations(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one generation: the bundled sample with the packaged MiniLM as it comes."""
    folder = tmp_path_factory.mktemp("sample")
    recipe = TrainRecipe(method="none", data=DataRecipe(pairs=str(sample_data / "pairs.csv")))
    train(recipe, folder / "run")
    export_generation(
        folder / "run",
        sample_data / "products.csv",
        folder / "generations",
        ExportConfig(),
        report=lambda _: None,
        embedding=lambda _: nullcontext(lambda _: None),
    )
    return folder / "generations"


@pytest.fixture(scope="session")
def sample_server(sample_generations: Path) -> Iterator[TritonServer]:
    """Return a server of the sample's generation: thousands of products, real queries of mixed length."""
    yield from start(sample_generations)
