"""Judges finalists by rounds in which each was measured beside the exported settings.

Settings win when they are faster in so many rounds that chance would hardly give it (a one-sided sign test, its level
divided by the number of finalists, as Bonferroni says) and by more than ``LEAST_GAIN`` in the middle.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from trident.errors import BenchError
from trident.generation.tuning import UNTUNED, Tuning

LEVEL = 0.05
LEAST_GAIN = 0.02  # of throughput
SLACK = 1.25  # without a bound: p99 may be so many times that of the exported settings


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one measurement of some settings gave."""

    searches_per_s: float
    p50_ms: float
    p99_ms: float
    mean_encoder_batch: float | None = None
    memory_mib: float = 0.0

    def __str__(self) -> str:
        """Return such as ``512/s, p99 71.2 ms``."""
        return f"{self.searches_per_s:.0f}/s, p99 {self.p99_ms:.1f} ms"


Round = Mapping[Tuning, Figures]  # the exported settings are in every one


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """Some settings over the rounds: medians, and how they stand to those as exported in the same round."""

    tuning: Tuning
    searches_per_s: float
    lowest_per_s: float
    highest_per_s: float
    p50_ms: float
    p99_ms: float
    ratio: float  # of throughput
    won: int  # rounds
    chance: float  # that a coin would win as many
    keeps_bound: bool
    is_better: bool  # beyond chance, and within the bound


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Who won."""

    best: Tuning
    decided: bool  # False: the time was not enough to tell
    reason: str
    bound_ms: float | None  # on p99; None: there was none and no round to take it from
    finalists: tuple[Finalist, ...]  # as exported first; empty where there was no round


def within(p99_ms: float, bound_ms: float | None) -> bool:
    """Return whether a latency keeps a bound; every one keeps none."""
    return bound_ms is None or p99_ms <= bound_ms


def fewest_rounds(finalists: int) -> int:
    """Return in how many rounds, all of them won, one of so many finalists wins."""
    return next(rounds for rounds in range(1, 64) if chance_of(rounds, rounds) <= LEVEL / finalists)


def chance_of(won: int, rounds: int) -> float:
    """Return how likely a fair coin shows heads so many times or more often."""
    return float(sum(comb(rounds, times) for times in range(won, rounds + 1)) / 2**rounds)


def affordable(left_s: float, cost_s: float, *, finalists: int, rounds: int) -> tuple[int, int]:
    """Return how many finalists and rounds a time is enough for; (0, 0) where it is not for one.

    Args:
        left_s: Seconds.
        cost_s: Of one measurement.
        finalists: At most.
        rounds: At most.
    """
    for count in range(finalists, 0, -1):
        possible = min(rounds, int(left_s / (cost_s * (count + 1))))
        if possible >= fewest_rounds(count):
            return count, possible
    return 0, 0


def judge(rounds: Sequence[Round], *, p99_ms: float | None) -> Verdict:
    """Return who won after some whole rounds.

    Args:
        rounds: One at least; settings that are missing in one, because they failed, are out.
        p99_ms: The bound; None: ``SLACK`` times what the exported settings have in the middle.

    Raises:
        BenchError: If nothing keeps the bound.
    """
    tunings = [tuning for tuning in rounds[-1] if all(tuning in each for each in rounds)]
    tunings.sort(key=lambda tuning: tuning != UNTUNED)
    bound_ms = p99_ms or SLACK * statistics.median(each[UNTUNED].p99_ms for each in rounds)
    found = tuple(_finalist(tuning, rounds, bound_ms, len(tunings) - 1) for tuning in tunings)
    keeping = [each for each in found if each.keeps_bound]
    if not keeping:
        raise unkept(bound_ms, {each.tuning: each.p99_ms for each in found})
    if not found[0].keeps_bound:
        best = max(keeping, key=lambda each: each.searches_per_s)
        reason = f"the settings as exported have p99 {found[0].p99_ms:.1f} ms, which must be at most {bound_ms:.1f}"
    else:
        best = _simplest([each for each in found if each.is_better]) or found[0]
        reason = f"{best.ratio:.2f} times the throughput, faster in {best.won} of {len(rounds)} rounds"
        if best.tuning == UNTUNED:
            reason = "no other settings were faster beyond chance"
    decided = best.tuning != UNTUNED or len(tunings) == 1 or len(rounds) >= fewest_rounds(len(tunings) - 1)
    if not decided:
        reason = f"{len(rounds)} rounds are too few to tell"
    return Verdict(best=best.tuning, decided=decided, reason=reason, bound_ms=bound_ms, finalists=found)


def unkept(bound_ms: float, seen: Mapping[Tuning, float]) -> BenchError:
    """Return the error for a bound on p99 that none of some settings keeps."""
    lowest = min(seen, key=lambda tuning: seen[tuning])
    return BenchError(
        f"no settings keep p99 within {bound_ms:g} ms: the lowest that was seen is {seen[lowest]:.1f} ms ({lowest}); "
        "allow more with --p99-ms, or ask with fewer --clients"
    )


def _simplest(better: Sequence[Finalist]) -> Finalist | None:
    """Return the one with the fewest settings among those about as fast as the fastest; None of none."""
    fastest = max((each.ratio for each in better), default=0.0)
    alike = [each for each in better if each.ratio * (1 + LEAST_GAIN) >= fastest]
    return min(alike, key=lambda each: (len(each.tuning.changes()), -each.ratio), default=None)


def _finalist(tuning: Tuning, rounds: Sequence[Round], bound_ms: float, others: int) -> Finalist:
    def median(value: Callable[[Figures], float]) -> float:
        return statistics.median(value(each[tuning]) for each in rounds)

    throughputs = [each[tuning].searches_per_s for each in rounds]
    ratios = [each[tuning].searches_per_s / each[UNTUNED].searches_per_s for each in rounds]
    won = sum(ratio > 1 for ratio in ratios)
    chance = chance_of(won, len(rounds))
    p99_ms, ratio = median(lambda figures: figures.p99_ms), statistics.median(ratios)
    keeps_bound = within(p99_ms, bound_ms)
    return Finalist(
        tuning=tuning,
        searches_per_s=statistics.median(throughputs),
        lowest_per_s=min(throughputs),
        highest_per_s=max(throughputs),
        p50_ms=median(lambda figures: figures.p50_ms),
        p99_ms=p99_ms,
        ratio=ratio,
        won=won,
        chance=chance,
        keeps_bound=keeps_bound,
        is_better=keeps_bound and ratio >= 1 + LEAST_GAIN and chance <= LEVEL / max(1, others),
    )
