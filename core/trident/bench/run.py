"""One whole benchmark: its configuration, the servers and queries it needs, its report as one JSON document."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from trident.bench.figures import Row, summarize, typical
from trident.bench.measurement import Measurements, Plan, Subject, machine_facts, measure_rounds
from trident.bench.perf_analyzer import Load, PerfAnalyzer, Protocol, Target
from trident.bench.queries import draw_queries, write_tensor_input
from trident.bench.served import Served, running, started
from trident.bench.yardstick import Yardstick, YardstickPoint
from trident.config import to_table
from trident.data.reading import Reading
from trident.encoder.tokenization import TextTokenizer
from trident.errors import BenchError, ConfigError
from trident.generation.generation import Generation, find_generation
from trident.generation.staging import write_text
from trident.ranking.reranking import FORGETS
from trident.ranking.settings import Mode
from trident.retrieval.options import RERANK

NAME = "trident"
PROTOCOLS = ("grpc", "http")


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to measure."""

    queries: Path  # a file with a column `query`
    columns: dict[str, str] = field(default_factory=dict)  # that file's own name for it
    encoding: str | None = None  # of that file; None: UTF-8
    generations: Path = Path("generations")
    generation: str | None = None  # id; None: the server's, or the newest
    server: Path | None = None  # what `trident serve --json` wrote; None: one is started for the measurement
    serve_options: tuple[str, ...] = ()  # further options of a server that is started
    protocols: tuple[str, ...] = ("grpc",)
    modes: tuple[str, ...] = ()  # what ranks, each measured in turns with the others; none: as the generation chose
    clients: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    rates_per_s: tuple[float, ...] = ()  # Poisson arrivals
    rounds: int = 3
    window_s: float = 5.0  # three of them a measurement; one for each batch size of the yardstick
    count: int = 10_000  # queries drawn at most
    mix: str = "distinct"
    rerank: int | None = None  # candidates of the second stage; None: as many as the generation says
    batches: tuple[int, ...] = (1, 8, 32)  # of the yardstick
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))  # of the yardstick

    def __post_init__(self) -> None:
        """Check counts and protocols."""
        if self.rounds < 1 or self.threads < 1:
            raise ConfigError(f"rounds and threads must be >= 1, got {self.rounds} and {self.threads}")
        if not self.batches or min(self.batches) < 1:
            raise ConfigError(f"batches must be >= 1, at least one of them, got {self.batches}")
        unknown = [protocol for protocol in self.protocols if protocol not in PROTOCOLS]
        if unknown or not self.protocols:
            raise ConfigError(f"--protocol must be one of {', '.join(PROTOCOLS)}, got '{', '.join(unknown)}'")
        unknown = [mode for mode in self.modes if mode not in get_args(Mode)]
        if unknown:
            raise ConfigError(f"--mode must be one of {', '.join(get_args(Mode))}, got '{unknown[0]}'")
        if not self.loads():
            raise ConfigError("there must be --clients or --rates to measure")

    def loads(self) -> tuple[Load, ...]:
        """Return the loads, clients first."""
        by_rate = [Load(rate_per_s=rate) for rate in self.rates_per_s]
        return (*(Load(clients=clients) for clients in self.clients), *by_rate)

    def plan(self) -> Plan:
        """Return what is repeated."""
        return Plan(
            loads=self.loads(),
            rounds=self.rounds,
            window_s=self.window_s,
            batches=self.batches,
            threads=self.threads,
        )


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """What was measured, on what, from what."""

    generation: str
    precision: str
    products: int
    tuning: dict[str, int]  # settings of the server that are not as exported
    machine: dict[str, Any]
    config: dict[str, Any]
    queries: dict[str, Any]
    rows: list[Row]
    yardstick: list[YardstickPoint]  # medians
    measurements: Measurements

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        document = to_table(self)
        for row, table in zip(self.rows, document["rows"], strict=True):
            table["load"] = str(row.load)
        return document

    def save(self, path: Path) -> None:
        """Write the report as JSON; the folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n")


Peers = Callable[[Generation, Sequence[str], Path], AbstractContextManager[list[Subject]]]


def run_bench(
    analyzer: PerfAnalyzer, config: BenchConfig, *, say: Callable[[str], None], peers: Peers | None = None
) -> BenchReport:
    """Return the report of a whole benchmark.

    Args:
        analyzer: What asks.
        config: What to measure.
        say: Called with a line now and then.
        peers: Starts other servers for a generation and queries (a scratch folder is given) and stops them; they are
            measured in turns with ours.

    Raises:
        BenchError: If the server does not start, another generation is served, or a request fails.
    """
    reading = Reading(columns=config.columns, encoding=config.encoding)
    queries = draw_queries(config.queries, reading, count=config.count, mix=config.mix)
    attached = None if config.server is None else running(config.server)
    generation = find_generation(config.generations, config.generation or (attached.generation if attached else None))
    if attached is not None and attached.generation != generation.id:
        raise BenchError(
            f"the yardstick must be of the generation that is served, got {generation.id} where {attached.generation} "
            "is served: leave --generation out"
        )
    facts = machine_facts()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as servers:
        servers.enter_context(forgetting())
        yardstick = Yardstick.load(generation, threads=config.threads, rerank=config.rerank)
        scratch = Path(folder)
        own = started(config.generations, generation.id, config.serve_options)
        served = attached or servers.enter_context(own)
        subjects = [
            _subject(served, protocol, _asked(queries, scratch / f"queries{mode}.json", mode, config.rerank), mode)
            for protocol in config.protocols
            for mode in config.modes or ("",)
        ]
        if peers is not None:
            subjects += servers.enter_context(peers(generation, queries, scratch))
        measurements = measure_rounds(analyzer, subjects, yardstick, queries, config.plan(), say)
    return BenchReport(
        generation=generation.id,
        precision=generation.served_precision,
        products=generation.manifest.products,
        tuning=served.tuning,
        machine=facts,
        config=to_table(config),
        queries=_query_facts(yardstick.searcher.tokenizer, queries),
        rows=summarize(measurements),
        yardstick=typical(measurements.turns),
        measurements=measurements,
    )


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """Let second stages that are loaded here, and in servers started here, keep no pair: each is scored when asked."""
    before = os.environ.get(FORGETS)
    os.environ[FORGETS] = "1"
    try:
        yield
    finally:
        os.environ.pop(FORGETS)
        if before is not None:
            os.environ[FORGETS] = before


def _asked(queries: Sequence[str], path: Path, mode: str, rerank: int | None) -> Path:
    """Write what perf_analyzer asks of one mode; an empty one leaves it to the generation."""
    options = {**({"mode": mode} if mode else {}), **({} if rerank is None else {RERANK: rerank})}
    return write_tensor_input(queries, path, options=json.dumps(options, separators=(",", ":")) if options else None)


def _subject(served: Served, protocol: str, input_file: Path, mode: str) -> Subject:
    url = served.grpc if protocol == "grpc" else served.http
    target = Target(url=url, protocol=cast(Protocol, protocol))
    name = f"{NAME} {mode}" if mode else NAME
    return Subject(name=name, target=target, input_file=input_file, pid=served.pid, statistics_url=served.http)


def _query_facts(tokenizer: TextTokenizer, queries: Sequence[str]) -> dict[str, Any]:
    lengths = sorted(len(row) for row in tokenizer.token_ids(queries, "query"))
    return {
        "count": len(queries),
        "distinct": len(set(queries)),
        "tokens_median": lengths[len(lengths) // 2],
        "tokens_longest": lengths[-1],
    }
