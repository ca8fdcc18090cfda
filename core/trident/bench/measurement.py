"""One load on one server: what clients saw, what the server counted, what its processes used."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from trident.bench.perf_analyzer import WARMUP_REQUESTS, WINDOWS, Load, Measured, PerfAnalyzer, Target
from trident.bench.process_tree import tree_usage
from trident.bench.triton_statistics import StageStatistics, read_counters, stages_between
from trident.bench.yardstick import Yardstick, YardstickPoint, measure_yardstick

ENCODERS = ("pipeline", "encoder")  # the model that runs the encoder, by the server's variant


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A server with one way to ask it."""

    name: str
    target: Target
    input_file: Path  # requests as perf_analyzer reads them
    pid: int
    statistics_url: str | None  # HOST:PORT of Triton's HTTP; None: not Triton


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one load on one subject gave in one round."""

    subject: str
    protocol: str
    load: Load
    round: int
    measured: Measured
    stages: tuple[StageStatistics, ...]  # empty where the subject is not Triton
    server_cpu_s_per_1000: float
    generator_cpu_s_per_1000: float
    memory_mib: float

    @property
    def mean_encoder_batch(self) -> float | None:
        """Rows a batch of the encoder; None where nobody counted."""
        return next((stage.mean_batch for stage in self.stages if stage.model in ENCODERS), None)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One measurement of the yardstick."""

    before_round: int  # 0 to rounds; the last comes after the last round
    points: tuple[YardstickPoint, ...]
    load_average: float  # of the machine, over the last minute
    others_cores: float = 0.0  # cores that other programs kept busy meanwhile


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure, how often, how long."""

    loads: tuple[Load, ...]
    rounds: int
    window_s: float
    batches: tuple[int, ...]  # of the yardstick
    threads: int  # of the yardstick


@dataclass(frozen=True)
class Measurements:
    """Everything that was measured, in the order of measuring."""

    turns: tuple[Turn, ...]
    points: tuple[Point, ...]


def measure_rounds(
    analyzer: PerfAnalyzer,
    subjects: Sequence[Subject],
    yardstick: Yardstick,
    queries: Sequence[str],
    plan: Plan,
    say: Callable[[str], None],
) -> Measurements:
    """Return the measurements of every subject under every load, with the yardstick before and after each round."""

    def turn(number: int) -> Turn:
        say(f"yardstick: {plan.threads} threads, batches of {', '.join(map(str, plan.batches))}")
        busy, own, started = _busy_s(), time.process_time(), time.monotonic()
        points = measure_yardstick(
            yardstick, queries, batches=plan.batches, threads=plan.threads, window_s=plan.window_s
        )
        others_s = _busy_s() - busy - (time.process_time() - own)
        return Turn(
            before_round=number,
            points=points,
            load_average=os.getloadavg()[0],
            others_cores=max(0.0, others_s / (time.monotonic() - started)),
        )

    turns, points = [turn(0)], []
    for number in range(plan.rounds):
        for load in plan.loads:
            for subject in subjects:
                point = measure_point(analyzer, subject, load, round_number=number, window_s=plan.window_s)
                points.append(point)
                say(
                    f"round {number + 1} of {plan.rounds}: {subject.name} {subject.target.protocol}, {load}: "
                    f"{point.measured.searches_per_s:.0f}/s, p50 {point.measured.p50_ms:.1f} ms"
                )
        turns.append(turn(number + 1))
    return Measurements(tuple(turns), tuple(points))


def measure_point(analyzer: PerfAnalyzer, subject: Subject, load: Load, *, round_number: int, window_s: float) -> Point:
    """Return what one load on one subject gives.

    Raises:
        BenchError: If a request or perf_analyzer failed, or the server is gone.
    """
    url = subject.statistics_url
    counters, usage = ({} if url is None else read_counters(url)), tree_usage(subject.pid)
    measured = analyzer.measure(subject.target, load, subject.input_file, window_s=window_s)
    after = tree_usage(subject.pid)
    stages = () if url is None else stages_between(counters, read_counters(url))
    thousands = _searches(subject, stages, measured, window_s) / 1000
    return Point(
        subject=subject.name,
        protocol=subject.target.protocol,
        load=load,
        round=round_number,
        measured=measured,
        stages=stages,
        server_cpu_s_per_1000=(after.cpu_s - usage.cpu_s) / thousands,
        generator_cpu_s_per_1000=measured.generator_cpu_s / thousands,
        memory_mib=after.memory_mib,
    )


def _searches(subject: Subject, stages: Sequence[StageStatistics], measured: Measured, window_s: float) -> float:
    """Return how many searches a whole run of perf_analyzer was, its warm-up included.

    Triton counts them. For another server it is what the windows held; the requests between them are missing, so that
    CPU time a search comes out too high, by about 5% with windows of five seconds.
    """
    # Triton's inferences are what the models were asked; what its cache answered comes on top.
    asked = (stage for stage in stages if stage.model == subject.target.model)
    counted = next((stage.inferences + stage.cache_hits for stage in asked), None)
    return counted or measured.searches_per_s * WINDOWS * window_s + WARMUP_REQUESTS


def _busy_s() -> float:
    """Return the CPU seconds that all programs of the machine have used."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def machine_facts() -> dict[str, object]:
    """Return what a reader needs to know of this machine and moment."""
    return {
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_at_start": os.getloadavg()[0],
    }
