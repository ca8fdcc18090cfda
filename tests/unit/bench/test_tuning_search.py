"""The search on recorded figures: it finds the best, keeps the bound and the time, and does not trust noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path

import pytest

from trident.bench.tuning_finals import (
    Figures,
    affordable,
    chance_of,
    fewest_rounds,
    judge,
)
from trident.bench.tuning_run import TuneConfig
from trident.bench.tuning_search import Search, SearchConfig
from trident.bench.tuning_space import axes
from trident.errors import BenchError, ConfigError
from trident.generation.tuning import UNTUNED, Tuning

EXPORTED = {
    "instances": 1,
    "threads": 2,
    "index_threads": 1,
    "lone_threads": 2,
}
AXES = axes(2, EXPORTED)
TWO = Tuning(instances=2, threads=1)
BEST = Tuning(instances=2, threads=1, index_threads=2)
SECONDS = 10.0  # that a measurement takes


def figures(searches_per_s: float, p99_ms: float = 50.0) -> Figures:
    return Figures(searches_per_s=searches_per_s, p50_ms=p99_ms / 2, p99_ms=p99_ms)


@dataclass
class Recorded:
    """Figures by settings, as a machine that drifts and jitters would give them, and the time that goes by."""

    table: Callable[[Tuning], Figures]
    drift: Iterator[float] = field(default_factory=lambda: cycle([1.0]))
    seconds: float = SECONDS
    now: float = 0.0
    asked: list[Tuning] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)

    def measure(self, tuning: Tuning, window_s: float) -> Figures:
        self.now += self.seconds
        self.asked.append(tuning)
        self.windows.append(window_s)
        found, factor = self.table(tuning), next(self.drift)
        return figures(found.searches_per_s * factor, found.p99_ms / factor)

    def search(self, *, first: tuple[Tuning, ...] = (), run: bool = True, **limits: float) -> Search:
        lines: list[str] = []
        search = Search(self.measure, SearchConfig(**limits), lines.append, clock=lambda: self.now)
        if run:
            search.run(AXES, EXPORTED, first=first)
            assert len(lines) == len(self.asked)
        return search


def hilly(tuning: Tuning) -> Figures:
    """Return figures whose best is two steps from the exported settings, with nothing better on the way by one knob."""
    throughput = 400.0
    if (tuning.instances, tuning.threads) == (2, 1):
        throughput = 450.0 + (50.0 if tuning.index_threads == 2 else 0.0)
    elif tuning.instances or tuning.threads:
        throughput = 300.0
    if tuning.lone_threads:
        throughput -= 40.0
    return figures(throughput)


def flat(tuning: Tuning) -> Figures:
    return figures(400.0)


def test_the_best_is_found_and_proven_in_turns() -> None:
    recorded = Recorded(hilly)
    search = recorded.search(limit_s=900)
    verdict = search.verdict()
    assert (verdict.best, verdict.decided) == (BEST, True)
    assert verdict.reason.startswith("1.25 times the throughput, faster in ")
    assert recorded.now <= 900
    assert search.rounds
    assert search.finalists == (BEST,)  # nothing else came within 5%
    first, second = verdict.finalists
    assert (first.tuning, first.ratio, first.is_better) == (UNTUNED, 1.0, False)
    assert (second.tuning, second.ratio, second.is_better) == (BEST, 1.25, True)
    finals = [trial.tuning for trial in search.trials if trial.round is not None]
    assert finals[:4] == [UNTUNED, BEST, BEST, UNTUNED]  # nobody is always the first
    screened = len(search.trials) - len(finals)
    again = [tuning for tuning in set(recorded.asked[:screened]) if recorded.asked[:screened].count(tuning) > 1]
    assert set(again) == {UNTUNED, TWO, BEST}  # what an axis started from
    assert recorded.windows == [1.5] * screened + [3.0] * len(finals)


def test_a_drifting_machine_does_not_decide() -> None:
    """The machine is by turns a fifth faster and slower; 5% is more than some settings gain."""
    waves = cycle([1 + 0.2 * math.sin(2 * math.pi * number / 40) for number in range(40)])
    assert Recorded(hilly, drift=waves).search(limit_s=1500).verdict().best == BEST
    waves = cycle([1 + 0.2 * math.sin(2 * math.pi * number / 40) for number in range(40)])
    assert Recorded(flat, drift=waves).search(limit_s=1500).verdict().best == UNTUNED


def test_of_settings_that_are_alike_the_fewest_win() -> None:
    more = replace(BEST, lone_threads=1)
    rounds = [{UNTUNED: figures(400.0), BEST: figures(500.0), more: figures(503.0), TWO: figures(450.0)}] * 6
    assert judge(rounds, p99_ms=None).best == BEST


@pytest.mark.parametrize("period", [2, 3, 5, 7, 11])
def test_noise_does_not_beat_the_exported_settings(period: int) -> None:
    recorded = Recorded(flat, drift=cycle([1.0, 1.08, 0.93, 1.04, 0.97, 1.1, 0.9, 1.02, 1.06, 0.95, 0.99][:period]))
    verdict = recorded.search(limit_s=1200).verdict()
    assert verdict.best == UNTUNED
    assert verdict.decided
    assert verdict.reason == "no other settings were faster beyond chance"


def test_where_nothing_comes_near_the_exported_settings_stay() -> None:
    recorded = Recorded(lambda tuning: figures(400.0 if tuning == UNTUNED else 300.0))
    verdict = recorded.search(limit_s=900).verdict()
    assert (verdict.best, verdict.decided, verdict.finalists) == (UNTUNED, True, ())
    assert verdict.reason == f"none of {len(set(recorded.asked)) - 1} other settings came near"


def slow_when_fast(tuning: Tuning) -> Figures:
    """Return more throughput and more latency for two instances, little of both for one thread."""
    by_split = {(2, 1): figures(600.0, 90.0), (None, 1): figures(300.0, 20.0)}
    return by_split.get((tuning.instances, tuning.threads), figures(400.0, 50.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("p99_ms", "best"),
    [(None, UNTUNED), (100.0, TWO), (60.0, UNTUNED), (30.0, Tuning(threads=1))],
)
def test_the_bound_on_latency_is_kept(p99_ms: float | None, best: Tuning) -> None:
    limits = {} if p99_ms is None else {"p99_ms": p99_ms}
    verdict = Recorded(slow_when_fast).search(limit_s=1500, **limits).verdict()
    assert verdict.decided
    assert verdict.best.instances == best.instances
    assert verdict.best.threads == best.threads
    assert verdict.bound_ms == (62.5 if p99_ms is None else p99_ms)
    if p99_ms == 30.0:
        assert verdict.reason == "the settings as exported have p99 50.0 ms, which must be at most 30.0"


@pytest.mark.parametrize("limit_s", [60.0, 1500.0])
def test_a_bound_that_nothing_keeps_is_refused_with_the_lowest_seen(limit_s: float) -> None:
    search = Recorded(slow_when_fast).search(limit_s=limit_s, p99_ms=10.0)
    lowest = min(score.p99_ms for score in search.scores.values())
    with pytest.raises(
        BenchError, match=rf"no settings keep p99 within 10 ms: the lowest that was seen is {lowest:.1f}"
    ):
        search.verdict()


@pytest.mark.parametrize("limit_s", [5.0, 25.0, 60.0, 119.0, 240.0, 3600.0])
def test_the_time_is_kept(limit_s: float) -> None:
    recorded = Recorded(hilly)
    search = recorded.search(limit_s=limit_s)
    assert recorded.now <= max(limit_s, SECONDS)  # the first is measured in any case
    verdict = search.verdict()
    assert verdict.decided == bool(search.rounds)
    if not verdict.decided:
        assert verdict.best == UNTUNED
        assert verdict.reason.startswith("the time was not enough to tell, at 10 s a measurement")


def test_a_machine_that_gets_slower_ends_in_time_and_one_that_stopped_for_a_while_goes_on() -> None:
    slower = Recorded(hilly)

    def table(tuning: Tuning) -> Figures:
        slower.now += len(slower.asked)
        return hilly(tuning)

    slower.table = table
    search = slower.search(limit_s=900)
    assert 0 < len(search.rounds) < search.planned
    assert slower.now <= 900 + 2 * (SECONDS + len(slower.asked))  # of the round under way

    paused = Recorded(hilly)

    def pause(tuning: Tuning) -> Figures:
        paused.now += 100 if len(paused.asked) == 3 else 0
        return hilly(tuning)

    paused.table = pause
    assert paused.search(limit_s=1000).verdict().best == BEST


def test_what_was_found_another_time_is_tried_first() -> None:
    recorded = Recorded(hilly)
    assert recorded.search(limit_s=900, first=(BEST,)).verdict().best == BEST
    assert recorded.asked[:2] == [UNTUNED, BEST]


def test_settings_that_cannot_be_served_are_passed_over() -> None:
    def failing(tuning: Tuning) -> Figures:
        if tuning.instances == 2:
            raise BenchError("trident serve did not start: out of memory")
        return flat(tuning)

    search = Recorded(failing).search(limit_s=900)
    assert search.verdict().best == UNTUNED
    faults = [trial.fault for trial in search.trials if trial.figures is None]
    assert set(faults) == {"trident serve did not start: out of memory"}
    failed = [trial.tuning for trial in search.trials if trial.figures is None]
    assert len(failed) == len(set(failed))  # each once

    def never(tuning: Tuning) -> Figures:
        raise BenchError("no")

    with pytest.raises(BenchError, match="the settings as exported cannot be measured: no"):
        Recorded(never).search(limit_s=900)


def test_a_machine_that_stood_still_for_a_moment_does_not_decide() -> None:
    stalls = {1, 4, 9}

    def stalling(tuning: Tuning) -> Figures:
        if len(recorded.asked) in stalls:
            raise BenchError("the server is overloaded")
        return hilly(tuning)

    recorded = Recorded(stalling)
    search = recorded.search(limit_s=900)
    assert search.verdict().best == Recorded(hilly).search(limit_s=900).verdict().best == BEST
    assert [trial.fault for trial in search.trials if trial.fault] == []
    assert len(recorded.asked) == len(search.trials) + len(stalls)


def test_finalists_and_exported_settings_that_fail_in_the_finals() -> None:
    final = Recorded(hilly)

    def failing(broken: Tuning) -> Callable[[Tuning], Figures]:
        def table(tuning: Tuning) -> Figures:
            if tuning == broken and final.windows.count(3.0) > 4:
                raise BenchError("died")
            return hilly(tuning)

        return table

    final.table = failing(BEST)
    search = final.search(limit_s=900)
    assert (search.finalists, len(search.rounds)) == ((), 3)
    assert search.verdict().best == UNTUNED
    final = Recorded(failing(UNTUNED))
    with pytest.raises(BenchError, match="the settings as exported cannot be measured any more: died"):
        final.search(limit_s=900)


@pytest.mark.parametrize(("rounds", "decided"), [(-1, False), (0, False), (3, False), (5, True)])
def test_an_interrupted_search_says_what_is_known(rounds: int, decided: bool) -> None:
    """It is interrupted in the screening, or in the finals after some rounds."""
    recorded = Recorded(hilly)
    search = recorded.search(limit_s=1800, run=False)

    def table(tuning: Tuning) -> Figures:
        if tuning == TWO if rounds < 0 else search.planned and len(search.rounds) == rounds:
            raise KeyboardInterrupt
        return hilly(tuning)

    recorded.table = table
    with pytest.raises(KeyboardInterrupt):
        search.run(AXES, EXPORTED)
    assert len(search.rounds) == max(0, rounds)
    verdict = search.verdict()
    assert (verdict.best, verdict.decided) == (BEST if decided else UNTUNED, decided)
    if rounds == 0:
        assert verdict.reason.endswith(f"; {BEST} looked best, 1.25 times the throughput in the screening")
    if rounds == 3:
        assert verdict.reason == "3 rounds are too few to tell"


def test_how_many_rounds_prove_something() -> None:
    assert [fewest_rounds(count) for count in (1, 2, 3)] == [5, 6, 6]
    assert chance_of(5, 5) == 1 / 32
    assert chance_of(0, 5) == 1.0
    assert affordable(1000.0, 10.0, finalists=3, rounds=10) == (3, 10)
    assert affordable(240.0, 10.0, finalists=3, rounds=10) == (3, 6)
    assert affordable(239.0, 10.0, finalists=3, rounds=10) == (2, 7)
    assert affordable(110.0, 10.0, finalists=3, rounds=10) == (1, 5)
    assert affordable(99.0, 10.0, finalists=3, rounds=10) == (0, 0)
    assert affordable(1000.0, 10.0, finalists=0, rounds=10) == (0, 0)
    assert affordable(1000.0, 10.0, finalists=3, rounds=5) == (1, 5)


def test_a_small_gain_in_every_round_is_none() -> None:
    rounds = [{UNTUNED: figures(400.0 + number), TWO: figures(401.0 + number)} for number in range(8)]
    verdict = judge(rounds, p99_ms=None)
    assert verdict.finalists[1].won == 8
    assert (verdict.best, verdict.decided) == (UNTUNED, True)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"limit_s": 0.0}, "--minutes must be > 0, got 0"),
        ({"window_s": 0.05}, "--window must be >= 0.1 seconds, got 0.05"),
        ({"rounds": 4}, "--rounds must be >= 5 to prove anything, got 4"),
        ({"p99_ms": 0.0}, "--p99-ms must be > 0, got 0"),
        ({"p99_ms": float("nan")}, "--p99-ms must be > 0, got nan"),
    ],
)
def test_limits_that_are_none_are_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**limits)


def test_clients_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="--clients must be >= 1, got 0"):
        TuneConfig(queries=Path("pairs.csv"), clients=0)
