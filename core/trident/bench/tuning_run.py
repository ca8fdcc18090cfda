"""One whole search of settings: the queries, the servers that are measured, the file that is written, the report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident.bench.measurement import Subject, machine_facts, measure_point
from trident.bench.perf_analyzer import Load, PerfAnalyzer, Target
from trident.bench.queries import draw_queries, write_tensor_input
from trident.bench.served import started
from trident.bench.tuning_finals import Figures, Verdict
from trident.bench.tuning_search import Measure, Search, SearchConfig, Trial
from trident.bench.tuning_space import Settings, axes, changed
from trident.config import to_table
from trident.data.reading import Reading
from trident.errors import ConfigError
from trident.generation.generation import find_generation
from trident.generation.staging import write_text
from trident.generation.state import now
from trident.generation.tuned_settings import Machine, TunedSettings, settings_path
from trident.generation.tuning import KNOBS, UNTUNED, VARIANT, Tuning, exported_settings
from trident.server.server import free_ports

NAME = "trident"


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What to tune, for which load."""

    queries: Path  # a file with a column `query`
    columns: dict[str, str] = field(default_factory=dict)  # that file's own name for it
    encoding: str | None = None  # of that file; None: UTF-8
    generations: Path = Path("generations")
    generation: str | None = None  # id; None: the newest
    clients: int = 32  # that each wait for their answer
    knobs: tuple[str, ...] = tuple(KNOBS)
    search: SearchConfig = field(default_factory=SearchConfig)
    count: int = 10_000  # queries drawn at most
    mix: str = "distinct"

    def __post_init__(self) -> None:
        """Check the clients; queries and knobs are checked where they are used."""
        if self.clients < 1:
            raise ConfigError(f"--clients must be >= 1, got {self.clients}")


@dataclass(frozen=True, kw_only=True)
class TuneReport:
    """What was tried and what came of it."""

    generation: str
    machine: dict[str, Any]
    config: dict[str, Any]
    exported: Settings
    trials: tuple[Trial, ...]
    verdict: Verdict
    interrupted: bool
    written: Path | None  # None: it was not decided, and what was there holds

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON types; settings are those that are not as exported."""
        return {
            "generation": self.generation,
            "machine": self.machine,
            "config": self.config,
            "exported": dict(self.exported),
            "best": self.verdict.best.changes(),
            "decided": self.verdict.decided,
            "reason": self.verdict.reason,
            "bound_ms": self.verdict.bound_ms,
            "interrupted": self.interrupted,
            "written": None if self.written is None else str(self.written),
            "finalists": [to_table(each) | {"tuning": each.tuning.changes()} for each in self.verdict.finalists],
            "trials": [to_table(each) | {"tuning": each.tuning.changes()} for each in self.trials],
        }

    def save(self, path: Path) -> None:
        """Write the report as JSON; the folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n")


def run_tuning(analyzer: PerfAnalyzer, config: TuneConfig, *, say: Callable[[str], None]) -> TuneReport:
    """Return the report of a search, after writing the settings that it has decided for.

    Ctrl-C ends the search; what is known by then counts.

    Args:
        analyzer: What asks.
        config: What to tune.
        say: Called with a line for each measurement.

    Raises:
        BenchError: If the settings as exported cannot be measured, or nothing keeps the bound.
        KeyboardInterrupt: If it came before the first measurement was done.
    """
    reading = Reading(columns=config.columns, encoding=config.encoding)
    queries = draw_queries(config.queries, reading, count=config.count, mix=config.mix)
    generation = find_generation(config.generations, config.generation)
    machine, exported = Machine.here(), exported_settings(generation.repository)
    space = axes(machine.cores, exported, config.knobs)
    path = settings_path(config.generations, machine)
    first = _earlier(path, exported, say)
    facts, interrupted = machine_facts() | to_table(machine), False
    with tempfile.TemporaryDirectory() as scratch:
        input_file = write_tensor_input(queries, Path(scratch) / "queries.json")
        measure = _measure(analyzer, config, generation.id, input_file)
        search = Search(measure, config.search, say)
        try:
            search.run(space, exported, first=first)
        except KeyboardInterrupt:
            if not search.scores:
                raise
            interrupted = True
            say("interrupted: what is known by now counts")
    verdict = search.verdict()
    found = TunedSettings(
        settings=verdict.best,
        variant=VARIANT,
        machine=machine,
        generation=generation.id,
        tuned_at=now(),
        measured={
            "clients": config.clients,
            "p99_bound_ms": verdict.bound_ms,
            "finalists": [to_table(each) | {"tuning": each.tuning.changes()} for each in verdict.finalists],
        },
    )
    if verdict.decided:
        found.save(path)
    return TuneReport(
        generation=generation.id,
        machine=facts,
        config=to_table(config),
        exported=exported,
        trials=tuple(search.trials),
        verdict=verdict,
        interrupted=interrupted,
        written=path if verdict.decided else None,
    )


def _earlier(path: Path, exported: Settings, say: Callable[[str], None]) -> list[Tuning]:
    """Return the settings that were found another time, if there are any."""
    if not path.is_file():
        return []
    try:
        found = changed(UNTUNED, TunedSettings.load(path).settings.changes(), exported)
    except ConfigError as error:
        say(f"not tried: {error}")
        return []
    return [found] if found != UNTUNED else []


def _measure(analyzer: PerfAnalyzer, config: TuneConfig, generation: str, input_file: Path) -> Measure:
    """Return what serves a generation with settings, asks it, and stops it."""
    ports, load = free_ports(3), Load(clients=config.clients)
    settings_file = input_file.with_name("settings.json")

    def measure(tuning: Tuning, window_s: float) -> Figures:
        TunedSettings(
            settings=tuning, variant=VARIANT, machine=Machine.here(), generation=generation, tuned_at=now(), measured={}
        ).save(settings_file)
        options = ("--tuning", str(settings_file))
        with started(config.generations, generation, options, ports=ports) as served:
            target = Target(url=served.grpc, protocol="grpc")
            subject = Subject(
                name=NAME, target=target, input_file=input_file, pid=served.pid, statistics_url=served.http
            )
            point = measure_point(analyzer, subject, load, round_number=0, window_s=window_s)
        return Figures(
            searches_per_s=point.measured.searches_per_s,
            p50_ms=point.measured.p50_ms,
            p99_ms=point.measured.p99_ms,
            mean_encoder_batch=point.mean_encoder_batch,
            memory_mib=point.memory_mib,
        )

    return measure
