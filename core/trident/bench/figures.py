"""From measurements to figures: medians over rounds, ratios to the yardstick, the knee."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trident.bench.measurement import Measurements, Point, Turn
from trident.bench.perf_analyzer import Load
from trident.bench.triton_statistics import StageStatistics
from trident.bench.yardstick import Way, YardstickPoint


@dataclass(frozen=True, kw_only=True)
class Row:
    """One subject under one load: medians over rounds.

    Ratios are taken round by round, each to the mean of the yardsticks just before and just after that round, so that a
    machine that slows down does so for both.
    """

    subject: str
    protocol: str
    load: Load
    rounds: int
    searches_per_s: float
    lowest_per_s: float
    highest_per_s: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_encoder_batch: float | None  # None where the server is not Triton
    server_cpu_s_per_1000: float
    generator_cpu_s_per_1000: float
    memory_mib: float
    yardstick_batch: int  # the size that throughput and CPU are compared with
    throughput_ratio: float
    p50_ratio: float  # to the yardstick's smallest batch
    cpu_ratio: float
    tuned_throughput_ratio: float  # these two to the server's own code without a server, the others to the plain way
    tuned_cpu_ratio: float
    stages: tuple[StageStatistics, ...]  # of the round with the median throughput
    is_knee: bool = False


def summarize(measurements: Measurements) -> list[Row]:
    """Return a row for each subject, protocol and load, in the order of measuring, with each sweep's knee marked."""
    groups: dict[tuple[str, str, Load], list[Point]] = {}
    for point in measurements.points:
        groups.setdefault((point.subject, point.protocol, point.load), []).append(point)
    rows = [_row(points, measurements.turns) for points in groups.values()]
    sweeps: dict[tuple[str, str, bool], list[Row]] = {}
    for row in rows:
        sweeps.setdefault((row.subject, row.protocol, row.load.clients is None), []).append(row)
    knees = [knee(sweep) for sweep in sweeps.values()]
    return [Row(**(vars(row) | {"is_knee": any(row is found for found in knees)})) for row in rows]


def knee(sweep: Sequence[Row]) -> Row | None:
    """Return the row of a sweep where throughput divided by latency is largest; None for fewer than three rows.

    Source: Kleinrock, "Power and deterministic rules of thumb for probabilistic problems in computer communications",
    ICC 1979: the knee of the curve is where power is at its peak.
    """
    if len(sweep) < 3:
        return None
    return max(sweep, key=lambda row: row.searches_per_s / row.p50_ms)


def typical(turns: Sequence[Turn]) -> list[YardstickPoint]:
    """Return the yardstick's medians over its turns, way by way, batch size by batch size."""
    groups: dict[tuple[Way, int], list[YardstickPoint]] = {}
    for turn in turns:
        for point in turn.points:
            groups.setdefault((point.way, point.batch), []).append(point)
    fields = ("searches_per_s", "p50_ms", "p99_ms", "cpu_s_per_1000")
    return [
        YardstickPoint(
            batch=batch,
            way=way,
            **{name: statistics.median(getattr(point, name) for point in points) for name in fields},
        )
        for (way, batch), points in sorted(groups.items())
    ]


def comparable_batch(load: Load, batches: Sequence[int]) -> int:
    """Return the yardstick's batch size for a load: the largest that its clients can fill; for a rate, the largest."""
    if load.clients is None:
        return max(batches)
    return max((batch for batch in batches if batch <= load.clients), default=min(batches))


def _row(points: Sequence[Point], turns: Sequence[Turn]) -> Row:
    first = points[0]
    batches = [point.batch for point in turns[0].points]
    batch, smallest = comparable_batch(first.load, batches), min(batches)

    def median(value: Callable[[Point], float]) -> float:
        return statistics.median(value(point) for point in points)

    def beside(point: Point, size: int, value: Callable[[YardstickPoint], float], way: Way = "plain") -> float:
        around = [found for turn in turns[point.round : point.round + 2] for found in turn.points]
        return statistics.fmean(value(found) for found in around if (found.batch, found.way) == (size, way))

    def throughput(way: Way) -> float:
        return median(
            lambda point: point.measured.searches_per_s / beside(point, batch, lambda found: found.searches_per_s, way)
        )

    def cpu(way: Way) -> float:
        return median(
            lambda point: point.server_cpu_s_per_1000 / beside(point, batch, lambda found: found.cpu_s_per_1000, way)
        )

    encoder_batches = [point.mean_encoder_batch for point in points if point.mean_encoder_batch is not None]
    ordered = sorted(points, key=lambda point: point.measured.searches_per_s)
    return Row(
        subject=first.subject,
        protocol=first.protocol,
        load=first.load,
        rounds=len(points),
        searches_per_s=median(lambda point: point.measured.searches_per_s),
        lowest_per_s=ordered[0].measured.searches_per_s,
        highest_per_s=ordered[-1].measured.searches_per_s,
        p50_ms=median(lambda point: point.measured.p50_ms),
        p90_ms=median(lambda point: point.measured.p90_ms),
        p95_ms=median(lambda point: point.measured.p95_ms),
        p99_ms=median(lambda point: point.measured.p99_ms),
        mean_encoder_batch=statistics.median(encoder_batches) if encoder_batches else None,
        server_cpu_s_per_1000=median(lambda point: point.server_cpu_s_per_1000),
        generator_cpu_s_per_1000=median(lambda point: point.generator_cpu_s_per_1000),
        memory_mib=median(lambda point: point.memory_mib),
        yardstick_batch=batch,
        throughput_ratio=throughput("plain"),
        p50_ratio=median(lambda point: point.measured.p50_ms / beside(point, smallest, lambda found: found.p50_ms)),
        cpu_ratio=cpu("plain"),
        tuned_throughput_ratio=throughput("tuned"),
        tuned_cpu_ratio=cpu("tuned"),
        stages=ordered[(len(ordered) - 1) // 2].stages,
    )
