"""NVIDIA's load generator perf_analyzer: where it is, one run of it, what it measured.

Each run is one load for a fixed time: three windows whose requests it reports together. Whether they agree is not asked
of it (its stability check fails on a busy machine); ``trident bench`` repeats runs and shows how far they lie apart.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from trident.errors import BenchError, ConfigError

VARIABLE = "TRIDENT_PERF_ANALYZER"
PROGRAM = "perf_analyzer"
VERSION = "2.60.0"  # of the wheel that `make perf-analyzer` fetches
REMEDY = f"run make perf-analyzer, or name one with {VARIABLE}"
WINDOWS = 3  # perf_analyzer reports its last three
# What perf_analyzer says when no request ended within a window, or when windows differ even by more than ANY_SPREAD.
TOO_SHORT = ("larger time window", "Failed to obtain stable measurement")
ANY_SPREAD = "999"  # percent: three windows and no more
WARMUP_REQUESTS = 64
MICROSECONDS = 1e-3  # in milliseconds
SHOWN_LINES = 3

Protocol = Literal["grpc", "http", "rest"]  # rest: JSON posted to an endpoint, as OpenAI's is


@dataclass(frozen=True, kw_only=True)
class Load:
    """How hard to ask: as many clients that each wait for their answer, or a rate with Poisson arrivals."""

    clients: int | None = None
    rate_per_s: float | None = None

    def __post_init__(self) -> None:
        """Check that it is one of the two."""
        if (self.clients is None) == (self.rate_per_s is None):
            raise ConfigError(f"a load is clients or a rate, got clients {self.clients} and rate {self.rate_per_s}")
        if (self.clients or self.rate_per_s or 0) <= 0:
            raise ConfigError(f"a load must be > 0, got {self}")

    def __str__(self) -> str:
        """Return such as ``8 clients`` or ``100/s``."""
        if self.clients is None:
            return f"{self.rate_per_s:g}/s"
        return f"{self.clients} client{'s' if self.clients > 1 else ''}"

    def options(self) -> list[str]:
        """Return perf_analyzer's options for it."""
        if self.clients is not None:
            return ["--concurrency-range", str(self.clients)]
        return ["--request-rate-range", str(self.rate_per_s), "--request-distribution", "poisson"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked."""

    url: str  # HOST:PORT
    protocol: Protocol
    model: str = "search"
    endpoint: str | None = None  # of protocol rest: the path

    def __post_init__(self) -> None:
        """Check the protocol."""
        if self.protocol not in get_args(Protocol):
            raise ConfigError(f"protocol must be one of {', '.join(get_args(Protocol))}, got '{self.protocol}'")

    def options(self) -> list[str]:
        """Return perf_analyzer's options for it."""
        if self.protocol == "rest":
            kind = ["--service-kind", "openai", "--endpoint", self.endpoint or "search", "--async"]
            return ["-m", self.model, "-u", f"http://{self.url}", *kind]
        return ["-m", self.model, "-u", self.url, "-i", self.protocol]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What perf_analyzer measured under one load."""

    searches_per_s: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    generator_cpu_s: float  # of perf_analyzer itself, its start included
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PerfAnalyzer:
    """A perf_analyzer that runs here."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def measure(self, target: Target, load: Load, input_file: Path, *, window_s: float) -> Measured:
        """Return what clients saw of one load over three windows, longer ones where one is nearly empty.

        Args:
            target: What to ask.
            load: How hard.
            input_file: JSON of requests; see ``trident.bench.queries``.
            window_s: Seconds of each of the three windows, >= 0.1.

        Raises:
            BenchError: If a request failed, or perf_analyzer did; its own last lines are in the message.
        """
        if window_s < 0.1:
            raise ConfigError(f"window_s must be >= 0.1, got {window_s}")
        for longer in (1, 2, 4):
            try:
                return self._measure(target, load, input_file, window_s=longer * window_s)
            except BenchError as error:
                if not any(words in str(error) for words in TOO_SHORT):
                    raise
        return self._measure(target, load, input_file, window_s=8 * window_s)

    def _measure(self, target: Target, load: Load, input_file: Path, *, window_s: float) -> Measured:
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch) / "report.csv"
            options = ["--input-data", str(input_file), "-p", str(round(window_s * 1000)), "-s", ANY_SPREAD]
            options += ["-r", str(WINDOWS), "--warmup-request-count", str(WARMUP_REQUESTS), "-f", str(report)]
            before = _children_cpu_s()
            done = subprocess.run(
                [*self.command, *target.options(), *load.options(), *options, "--verbose-csv"],
                capture_output=True,
                text=True,
                check=False,
                env=self.environment,
                stdin=subprocess.DEVNULL,
            )
            cpu_s = _children_cpu_s() - before
            if done.returncode != 0 or not report.is_file():
                said = _last_lines(done.stderr) or _last_lines(done.stdout) or "nothing"
                raise BenchError(
                    f"perf_analyzer failed (status {done.returncode}) with {load} on {target.protocol} "
                    f"{target.url}: {said}"
                )
            warned = tuple(line for line in done.stderr.splitlines() if "WARNING" in line)
            return read_report(report.read_text("utf-8"), generator_cpu_s=cpu_s, warnings=warned)


def read_report(text: str, *, generator_cpu_s: float, warnings: tuple[str, ...] = ()) -> Measured:
    """Return what a CSV report of perf_analyzer (``-f``, ``--verbose-csv``) says of its one load.

    Raises:
        BenchError: If it has another number of loads, or lacks a column.
    """
    rows = list(csv.DictReader(text.splitlines()))
    if len(rows) != 1:
        raise BenchError(f"perf_analyzer must report one load, got {len(rows)}")

    def number(column: str) -> float:
        try:
            return float(rows[0][column])
        except (KeyError, TypeError, ValueError) as error:
            raise BenchError(f"perf_analyzer's report has no number under '{column}': {text.strip()!r}") from error

    return Measured(
        searches_per_s=number("Inferences/Second"),
        mean_ms=number("Avg latency") * MICROSECONDS,
        p50_ms=number("p50 latency") * MICROSECONDS,
        p90_ms=number("p90 latency") * MICROSECONDS,
        p95_ms=number("p95 latency") * MICROSECONDS,
        p99_ms=number("p99 latency") * MICROSECONDS,
        generator_cpu_s=generator_cpu_s,
        warnings=warnings,
    )


def find_perf_analyzer() -> PerfAnalyzer:
    """Return the perf_analyzer to use: the one that the variable names, on the path, in its wheel, or set up by make.

    Raises:
        BenchError: If none of them is there and runs.
    """
    named = os.environ.get(VARIABLE)
    tried = []
    for program in [Path(named)] if named else _places():
        if not program.is_file():
            tried.append(f"{program} does not exist")
            continue
        command = _command(program)
        try:
            done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, timeout=30)
        except OSError as error:
            tried.append(f"{program} cannot be run ({error.strerror})")
            continue
        if done.returncode == 0:
            return PerfAnalyzer(command)
        tried.append(f"{program} does not run ({_last_lines(done.stderr, 1) or f'status {done.returncode}'})")
    where = f" (from {VARIABLE})" if named else ""
    raise BenchError(f"no perf_analyzer that runs{where}: {'; '.join(tried)}; {REMEDY}")


def _places() -> Iterator[Path]:
    on_path = shutil.which(PROGRAM)
    if on_path is not None and Path(on_path).read_bytes()[:4] == b"\x7fELF":  # the wheel's script hides the exit status
        yield Path(on_path)
    spec = importlib.util.find_spec(PROGRAM)
    if spec is not None and spec.submodule_search_locations:
        yield Path(next(iter(spec.submodule_search_locations))) / "bin" / PROGRAM
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trident"
    yield cache / f"perf-analyzer-{VERSION}" / PROGRAM


def _command(program: Path) -> tuple[str, ...]:
    """Return the command of a program, by the loader that lies beside it where this system's is too old."""
    libraries = program.parent / "lib"
    loader = libraries / "ld-linux-x86-64.so.2"
    if loader.is_file():
        return (str(loader), "--library-path", str(libraries), str(program))
    return (str(program),)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_lines(text: str, lines: int = SHOWN_LINES) -> str:
    return "; ".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])
