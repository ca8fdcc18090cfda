"""Real tritonservers, one for each export, started once and stopped at the end."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from trident.generation.generation import Generation, find_generation, generation_by_id, list_generations
from trident.generation.state import ServingFolder
from trident.generation.tuning import UNTUNED, Tuning
from trident.journal.folder import LiveFolder
from trident.promotion.promotion import PromoteOptions, promote, retire
from trident.server import runtime_repository
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import SearchClient
from trident_export.config import ExportConfig, PrecisionConfig, SuggestionsConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
from trident_train.data.sample import write_sample
from trident_train.recipe import DataRecipe, TrainRecipe
from trident_train.run import train

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def perf_analyzer(made_once: Callable[..., Path]) -> None:
    """Set up perf_analyzer as ``make perf-analyzer`` does, which is quick when it is there; its message is ours."""

    def set_up(_: Path) -> None:
        done = subprocess.run(
            [REPOSITORY / "scripts" / "perf_analyzer.sh"],
            env=os.environ | {"PYTHON": sys.executable},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr

    made_once("perf-analyzer", set_up)


@pytest.fixture(scope="module")
def patient() -> Iterator[None]:
    """Lay out servers whose requests may wait for a minute: where other programs have the cores, a second is soon over.

    Promotions of such a module must be made in this process: others hold what is served against the files.
    """
    known = runtime_repository.configurations
    setting = re.compile(r'(key: "max_wait_ms"\s+value \{\s+string_value: )"\d+"')

    def waiting(repository: Path, tuning: Tuning = UNTUNED) -> dict[str, str]:
        texts = known(repository, tuning)
        assert any(setting.search(text) for text in texts.values())
        return {name: setting.sub(r'\1"60000"', text) for name, text in texts.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime_repository, "configurations", waiting)
        yield


def start(generations: Path) -> Iterator[TritonServer]:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(find_generation(generations), generations, options) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_server(tiny_generations: Path) -> Iterator[TritonServer]:
    """Return a server of the tiny generation: 144 products."""
    yield from start(tiny_generations)


@dataclass(frozen=True)
class Pair:
    """Two generations with different encoders, and products whose ids have one letter in front: ``a`` or ``b``."""

    folder: Path
    a: Generation
    b: Generation

    def copy(self, target: Path) -> Pair:
        """Return a copy in another folder, free to be served, damaged and pruned."""
        for generation in (self.a, self.b):
            shutil.copytree(generation.folder, target / generation.id)
        return Pair(target, generation_by_id(target, self.a.id), generation_by_id(target, self.b.id))

    def other(self, generation: Generation) -> Generation:
        """Return the one that is not this."""
        return self.b if generation.id == self.a.id else self.a


@pytest.fixture(scope="session")
def pair(
    tiny_run: Path,
    tiny_recipe: TrainRecipe,
    tiny_data: Path,
    made_once: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pair:
    """Return the tiny run's generation and one of its base model as it comes, older first; with brands and stock."""

    def make(folder: Path) -> None:
        base = folder / "run-base"
        train(replace(tiny_recipe, method="none"), base)
        config = ExportConfig(  # without suggestions: a process less in each of many servers
            threads=1, precision=PrecisionConfig(made=()), suggestions=SuggestionsConfig(made=False)
        )
        for letter, run in (("b", base), ("a", tiny_run)):
            catalogue = folder / f"products-{letter}.csv"
            header, *rows = (tiny_data / "products.csv").read_text().splitlines()
            lines = [f"{letter}{row},{('Alba', 'Borex')[number % 2]},{number % 7}" for number, row in enumerate(rows)]
            catalogue.write_text("\n".join([f"{header},brand,stock", *lines]) + "\n")
            export_generation(ExportOrder(run, catalogue, folder / "generations", config))

    made = made_once("pair", make) / "generations"
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("pair") / "generations"))
    b, a = list_generations(folder)
    return Pair(folder, a=a, b=b)


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every twelfth product of the bundled sample, and the pairs that judge one of them."""
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample(folder)
    with (folder / "products.csv").open(newline="", encoding="utf-8") as file:
        kept = {row["product_id"] for row in itertools.islice(csv.DictReader(file), 0, None, 12)}
    for name in ("products.csv", "pairs.csv"):
        with (folder / name).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if row["product_id"] in kept]
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, reader.fieldnames or ())
            writer.writeheader()
            writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def sample_generations(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one generation: the sample with the packaged MiniLM as it comes."""
    folder = tmp_path_factory.mktemp("sample")
    recipe = TrainRecipe(method="none", data=DataRecipe(pairs=str(sample_data / "pairs.csv")))
    train(recipe, folder / "run")
    config = ExportConfig(precision=PrecisionConfig(made=()))  # float32 is served
    export_generation(ExportOrder(folder / "run", sample_data / "products.csv", folder / "generations", config))
    return folder / "generations"


@pytest.fixture(scope="session")
def sample_server(sample_generations: Path) -> Iterator[TritonServer]:
    """Return a server of the sample's generation: 320 products, real queries of mixed length."""
    yield from start(sample_generations)


@pytest.fixture(scope="session")
def living() -> Callable[[int], list[int]]:
    """Return what lists the living processes of a process group."""

    def processes_of(group: int) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, process_group = stat.read_text().rpartition(") ")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(process_group) == group and state != "Z":
                found.append(int(stat.parent.name))
        return found

    return processes_of


@pytest.fixture(scope="module")
def own(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return a copy of the pair that a module may change."""
    return pair.copy(tmp_path_factory.mktemp("promotion"))


@pytest.fixture(scope="module")
def server(own: Pair) -> Iterator[TritonServer]:
    """Return a server that starts with generation a."""
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(own.a, own.folder, options) as started:
        yield started


@pytest.fixture(scope="module")
def live(own: Pair) -> Iterator[TritonServer]:
    """Return a server with a live catalogue that starts with generation a; its promotions need no gate."""
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, live=True)
    with serve(own.a, own.folder, options) as started:
        yield started


@pytest.fixture(params=["grpc", "http"])
def client(live: TritonServer, own: Pair, request: pytest.FixtureRequest) -> Iterator[SearchClient]:
    """Return a client of the live catalogue, over each protocol, that may write."""
    url = live.urls.grpc if request.param == "grpc" else live.urls.http
    with SearchClient(url, protocol=request.param, write_key=LiveFolder.of(own.folder).key(), timeout_s=60) as made:
        yield made


@pytest.fixture
def port(server: TritonServer, own: Pair) -> int:
    """Return the HTTP port of the server, with generation a serving, alone, and b before it."""
    folder = ServingFolder.of(own.folder, server.config.http_port)
    state = folder.state()
    assert state is not None
    if state.serving != own.a.id:
        promote(own.folder, server.config.http_port, own.a.id, PromoteOptions(), report=lambda _: None)
    retire(own.folder, server.config.http_port, grace_s=0)
    return server.config.http_port


Row = tuple[str, str | None, float | None]  # title, brand, stock
KETTLE = "Alba kettle red"
CHEAP = {"stock": {"lt": 3}, "brand": ["Alba", "Later"]}


@pytest.fixture(scope="session")
def whole_catalogue() -> Callable[[SearchClient], dict[str, Row]]:
    """Return what gives the catalogue of a server; searches and filters must find the same products."""
    return everything


def everything(client: SearchClient) -> dict[str, Row]:
    """Return the catalogue; searches and filters find the same products."""
    fields = ["brand", "stock"]
    hits = client.search(KETTLE, k=1000, fields=fields).hits
    there = {hit.product_id: (hit.title, hit.attributes["brand"], hit.attributes["stock"]) for hit in hits}
    browsed = client.search(k=1000, fields=fields, facets=["brand"])
    assert there == {hit.product_id: (hit.title, *map(hit.attributes.get, fields)) for hit in browsed.hits}
    counts = {each["value"]: each["count"] for each in browsed.details["facets"]["brand"]["values"]}
    brands = [brand for _, brand, _ in there.values()]
    assert counts == {brand: brands.count(brand) for brand in set(brands) - {None}}
    cheap = {
        product for product, row in there.items() if row[1] in CHEAP["brand"] and row[2] is not None and row[2] < 3
    }
    assert {hit.product_id for hit in client.search(KETTLE, k=1000, filter=CHEAP).hits} == cheap
    return there
