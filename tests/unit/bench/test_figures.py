"""Medians, ratios to the yardstick of the same round, the knee, the picture, and the budget's verdicts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from trident.bench.budget import Bound, Budget, check_budget, load_budget
from trident.bench.figures import comparable_batch, knee, summarize, typical
from trident.bench.measurement import Measurements, Point, Turn
from trident.bench.perf_analyzer import Load, Measured
from trident.bench.plot import save_plot
from trident.bench.triton_statistics import StageStatistics
from trident.bench.yardstick import WAYS, YardstickPoint
from trident.errors import BenchError, ConfigError


def turn(number: int, speed: float) -> Turn:
    points = tuple(
        YardstickPoint(
            batch=batch,
            way=way,
            searches_per_s=faster * speed * batch,
            p50_ms=1000 / speed / faster,
            p99_ms=2000 / speed / faster,
            cpu_s_per_1000=1000 / speed / batch / faster,
        )
        for batch in (1, 8)
        for way, faster in zip(WAYS, (1, 1.5), strict=True)
    )
    return Turn(before_round=number, points=points, load_average=0.0)


def point(clients: int, number: int, per_s: float, p50_ms: float, *, cpu: float = 10.0) -> Point:
    encoder = StageStatistics(
        model="encoder",
        inferences=100 * clients,
        executions=100,
        failures=0,
        cache_hits=0,
        queue_ms=0.0,
        compute_input_ms=0.0,
        compute_infer_ms=1.0,
        compute_output_ms=0.0,
    )
    measured = Measured(
        searches_per_s=per_s,
        mean_ms=p50_ms,
        p50_ms=p50_ms,
        p90_ms=p50_ms,
        p95_ms=p50_ms,
        p99_ms=3 * p50_ms,
        generator_cpu_s=1.0,
    )
    return Point(
        subject="trident",
        protocol="grpc",
        load=Load(clients=clients),
        round=number,
        measured=measured,
        stages=(encoder,),
        server_cpu_s_per_1000=cpu,
        generator_cpu_s_per_1000=1.0,
        memory_mib=100.0,
    )


# The machine gets slower: the yardstick falls from 100 to 50 a second, and the served pipeline with it.
SLOWING = Measurements(
    turns=(turn(0, 100.0), turn(1, 100.0), turn(2, 50.0), turn(3, 50.0)),
    points=(
        *(point(1, 0, 80.0, 12.0), point(8, 0, 600.0, 14.0), point(32, 0, 700.0, 45.0)),
        *(point(1, 1, 60.0, 16.0), point(8, 1, 450.0, 18.0), point(32, 1, 525.0, 60.0)),
        *(point(1, 2, 40.0, 24.0), point(8, 2, 300.0, 28.0), point(32, 2, 350.0, 90.0)),
    ),
)


def test_figures_are_medians_and_ratios_are_taken_round_by_round():
    one, eight, many = summarize(SLOWING)
    assert (one.searches_per_s, one.lowest_per_s, one.highest_per_s) == (60.0, 40.0, 80.0)
    assert (one.rounds, one.mean_encoder_batch, eight.mean_encoder_batch) == (3, 1.0, 8.0)
    # 80/100, 60/75, 40/50: the same in every round, where a ratio of medians would give 60/75 by luck only
    assert one.throughput_ratio == pytest.approx(0.8)
    assert eight.throughput_ratio == pytest.approx(0.75)
    assert (eight.yardstick_batch, many.yardstick_batch) == (8, 8)
    # p50 is compared with a batch of one: 10, 15 (of 10 and 20) and 20 ms
    assert one.p50_ratio == pytest.approx(1.2)
    # CPU seconds a thousand in batches of 8: 1.25, 1.875 and 2.5
    assert eight.cpu_ratio == pytest.approx(10.0 / 1.875)
    # the server's own code, without a server, is half as fast again as the plain way
    assert (one.tuned_throughput_ratio, eight.tuned_throughput_ratio) == pytest.approx((0.8 / 1.5, 0.5))
    assert eight.tuned_cpu_ratio == pytest.approx(15.0 / 1.875)


def test_the_yardstick_is_shown_by_its_medians():
    assert [(found.way, found.batch, found.searches_per_s) for found in typical(SLOWING.turns)] == [
        ("plain", 1, 75.0), ("plain", 8, 600.0), ("tuned", 1, 112.5), ("tuned", 8, 900.0),
    ]  # fmt: skip


def test_the_knee_is_where_throughput_by_latency_is_largest():
    rows = summarize(SLOWING)
    assert [row.is_knee for row in rows] == [False, True, False]
    assert knee(rows) is rows[1]
    assert knee(rows[:2]) is None  # two points make no curve


@pytest.mark.parametrize(("load", "batch"), [(Load(clients=1), 1), (Load(clients=9), 8), (Load(rate_per_s=5.0), 32)])
def test_a_load_is_compared_with_a_batch_that_its_clients_can_fill(load, batch):
    assert comparable_batch(load, (1, 8, 32)) == batch
    assert comparable_batch(Load(clients=1), (4, 8)) == 4


@pytest.mark.parametrize(("name", "start"), [("a/plot.svg", b"<?xml"), ("plot.png", b"\x89PNG")])
def test_the_plot_is_a_picture(tmp_path, name, start):
    rows = summarize(SLOWING)
    poisson = dataclasses.replace(rows[0], load=Load(rate_per_s=40.0))
    save_plot([*rows, poisson], typical(SLOWING.turns), tmp_path / name, title="three products")
    content = (tmp_path / name).read_bytes()
    assert content.startswith(start)
    if name.endswith("svg"):
        assert all(text in content for text in (b"three products", b"8 clients", b"40/s", b"batches of 8"))


def test_a_plot_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--plot must end in \.svg or \.png, got 'plot\.pdf'"):
        save_plot([], [], tmp_path / "plot.pdf", title="")


def bound(figure: str, clients: int, **limit: float) -> Bound:
    return Bound(figure=figure, protocol="grpc", clients=clients, **limit)


def test_a_budget_holds_with_its_tolerance_and_not_beyond():
    rows = summarize(SLOWING)
    bounds = (
        bound("throughput_ratio", 8, at_least=0.83),  # 0.75 against 0.747
        bound("throughput_ratio", 8, at_least=0.84),  # 0.75 against 0.756
        bound("p50_ratio", 1, at_most=1.1),  # 1.2 against 1.21
        bound("p50_ratio", 1, at_most=1.09),  # 1.2 against 1.199
        bound("mean_encoder_batch", 32, at_least=32.0),
    )
    verdicts = check_budget(Budget(tolerance=0.1, taken="", bound=bounds), rows, subject="trident")
    assert [verdict.kept for verdict in verdicts] == [True, False, True, False, True]
    assert str(verdicts[1]) == (
        "throughput_ratio, grpc, 8 clients: 0.750 must be at least 0.756 (0.84 and the tolerance)"
    )
    assert str(verdicts[3]).endswith("1.200 must be at most 1.199 (1.09 and the tolerance)")


@pytest.mark.parametrize(("figure", "clients"), [("throughput_ratio", 16), ("mean_encoder_batch", 1)])
def test_a_budget_that_was_not_measured_is_not_kept(figure, clients):
    rows = [dataclasses.replace(row, mean_encoder_batch=None) for row in summarize(SLOWING)]
    budget = Budget(tolerance=0.1, taken="", bound=(bound(figure, clients, at_least=1.0),))
    with pytest.raises(BenchError, match=f"bounds {figure} with grpc and {clients} clients, which was not measured"):
        check_budget(budget, rows, subject="trident")


BOUND = '[[bound]]\nfigure = "p50_ratio"\nprotocol = "grpc"\nclients = 1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: .*No such file"),
        ("tolerance =", "cannot be read: Invalid value"),
        ('tolerance = 0.1\ntaken = ""\nbound = []', r"must have at least one \[\[bound\]\]"),
        ('tolerance = 1.0\ntaken = ""\n' + BOUND + "at_most = 2.0", "tolerance must be 0 to below 1, got 1.0"),
        ('tolerance = 0.1\ntaken = ""\n' + BOUND, "a bound on p50_ratio must be at_least or at_most, one of them"),
        (
            'tolerance = 0.1\ntaken = ""\n' + BOUND.replace("p50_ratio", "p50_ms") + "at_most = 2.0",
            "figure must be one of throughput_ratio, p50_ratio, cpu_ratio, mean_encoder_batch, got 'p50_ms'",
        ),
        ('tolerance = 0.1\ntaken = ""\n' + BOUND + "atmost = 2.0", r"unknown key .*atmost' \(did you mean 'at_most'"),
    ],
)
def test_a_budget_that_breaks_a_rule_is_refused(tmp_path, text, message):
    path = tmp_path / "budget.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_budget(path)
    assert str(path) in str(caught.value)


def test_the_shipped_budget_is_one():
    budget = load_budget(Path(__file__).parents[3] / "bench" / "budget.toml")
    assert {bound.figure for bound in budget.bound} == {
        "throughput_ratio", "p50_ratio", "cpu_ratio", "mean_encoder_batch",
    }  # fmt: skip
    assert {bound.clients for bound in budget.bound} <= {1, 32}  # what scripts/bench_check.sh measures
