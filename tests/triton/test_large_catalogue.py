"""Half a million products under a random encoder of 64 dimensions: exported, served, promoted to.

``TRIDENT_LARGE_PRODUCTS`` says another number; the log has figures of five million. Prints what each step took.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trident.generation.generation import Generation
from trident.index.index import IndexConfig
from trident.probe.golden_check import check_golden
from trident.promotion.promotion import PromoteOptions, promote
from trident.quality.config import GateConfig
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, prepare, serve
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
from trident_train.model.random_model import ModelShape, write_random_model
from trident_train.recipe import DataRecipe, TrainRecipe
from trident_train.run import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

PRODUCTS = int(os.environ.get("TRIDENT_LARGE_PRODUCTS", "500000"))
SHAPE = ModelShape(layers=1, width=64, heads=4, intermediate=128)
KINDS = ("kettle", "lamp", "sofa", "novel", "hose", "chair", "shelf", "rug")
MADE_OF = ("brass", "oak", "wool", "steel", "glass", "linen", "cork", "slate")
READY_S = 30.0  # more than with a few products, on a machine that does other things as well


def products(folder: Path, count: int, seed: int) -> Path:
    """Return a catalogue whose titles are composed by a rule."""
    rng = random.Random(seed)
    path = folder / f"products-{count}.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("product_id,product_title\n")
        for row in range(count):
            words = [rng.choice(MADE_OF), rng.choice(KINDS), *rng.choices(MADE_OF + KINDS, k=rng.randint(0, 6))]
            file.write(f"p{row},{' '.join(words)} {rng.randint(1, 99_999)}\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    pairs = ["query,product_id,product_title,relevance_label"]
    for number in range(60):
        kind, made_of = KINDS[number % 8], MADE_OF[number // 8 % 8]
        pairs += [
            f"{made_of} {kind} {number},p{number},{made_of} {kind},1",
            f"{made_of} {kind} {number},q{number},hat,0",
        ]
    (folder / "pairs.csv").write_text("\n".join(pairs) + "\n", encoding="utf-8")
    model = write_random_model(folder / "model", SHAPE)
    data = DataRecipe(pairs=str(folder / "pairs.csv"), validation_share=0.2, test_share=0.3)
    train(TrainRecipe(method="none", base_model=str(model), data=data), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def generations(run: Path, tmp_path_factory: pytest.TempPathFactory, slow_seed: int) -> tuple[Generation, Generation]:
    """Return a generation of 4,000 products and one of half a million."""
    folder = tmp_path_factory.mktemp("large")
    config = ExportConfig(
        index=IndexConfig(m=16, ef_construction=100),
        precision=PrecisionConfig(made=()),
        recall_target=0.5,
        gate=GateConfig(recall_target=0.5, overlap_target=0.5),
    )
    few, many = (
        export_generation(ExportOrder(run, products(folder, count, slow_seed), folder / "generations", config))
        for count in (4_000, PRODUCTS)
    )
    for stage in many.manifest.stages:
        sys.stderr.write(f"{stage['stage']}: {stage['seconds']:.1f} s, {stage['proof']}\n")
    return few, many


@pytest.fixture(scope="module")
def options() -> ServeOptions:
    http_port, grpc_port, metrics_port = free_ports(3)
    return ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)


@pytest.fixture
def small_server(generations: tuple[Generation, Generation], options: ServeOptions) -> Iterator[TritonServer]:
    few, _ = generations
    with serve(few, few.folder.parent, options) as server:
        yield server


def test_what_it_takes_was_told(generations: tuple[Generation, Generation]) -> None:
    few, many = generations
    assert (few.manifest.products, many.manifest.products) == (4_000, PRODUCTS)
    (told,) = [row["proof"] for row in many.manifest.stages if row["stage"] == "forecast"]
    assert "of memory and" in told
    assert "embedding and index:" in told
    assert all(row["stage"] != "forecast" for row in few.manifest.stages)
    many.verify_files()


def test_it_is_ready_soon(generations: tuple[Generation, Generation], options: ServeOptions) -> None:
    taken = []
    for generation in generations:
        started = time.monotonic()
        folder = generation.folder.parent
        with serve(prepare(folder, generation.id), folder, options) as server:
            taken.append(time.monotonic() - started)
            assert check_golden(server.urls.http, generation).passed
    sys.stderr.write(f"ready after {taken[0]:.1f} s with 4,000 products, {taken[1]:.1f} s with {PRODUCTS:,}\n")
    assert taken[1] < taken[0] + READY_S


@pytest.mark.usefixtures("small_server")
def test_a_server_goes_to_it(generations: tuple[Generation, Generation], options: ServeOptions) -> None:
    _, many = generations
    made = promote(many.folder.parent, options.http_port, many.id, PromoteOptions(), report=lambda _: None)
    sys.stderr.write(f"promoted: {made}\n")
    assert made.generation == many.id
    assert made.asked > 0
