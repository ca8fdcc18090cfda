"""Searches settings within a time limit: one axis after another by short measurements, then the best in turns.

Every measurement is of a server started for it. What an axis starts from is measured before and after it, and its
settings are compared with the line between the two: a machine that gets slower does not decide. Short measurements
still differ by chance; so they only choose who comes to the finals (``trident.bench.tuning_finals``), where each round
measures all finalists and the exported settings.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trident.bench.perf_analyzer import WINDOWS
from trident.bench.tuning_finals import (
    LEAST_GAIN,
    Figures,
    Round,
    Verdict,
    affordable,
    fewest_rounds,
    judge,
    unkept,
    within,
)
from trident.bench.tuning_space import Axis, Settings, changed
from trident.errors import BenchError, ConfigError
from trident.generation.tuning import UNTUNED, Tuning

SCREENING_SHARE = 0.5  # of the time at most; the rest is for the finals
FINALISTS = 3
NEAR = 0.95  # of the best's throughput: such a finalist may be the better one
FINAL_WINDOWS = 2  # as long as those of the screening
ROUNDING_S = 0.5
ATTEMPTS = 2  # at a measurement

Measure = Callable[[Tuning, float], Figures]  # settings and seconds of a window


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search, and what is wanted."""

    limit_s: float = 600.0
    window_s: float = 1.5  # three of them a measurement
    rounds: int = 10  # of the finals, at most
    p99_ms: float | None = None  # the most that it may be; None: what the finals take from the exported settings

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.limit_s > 0:
            raise ConfigError(f"--minutes must be > 0, got {self.limit_s / 60:g}")
        if not self.window_s >= 0.1:
            raise ConfigError(f"--window must be >= 0.1 seconds, got {self.window_s:g}")
        if self.rounds < fewest_rounds(1):
            raise ConfigError(f"--rounds must be >= {fewest_rounds(1)} to prove anything, got {self.rounds}")
        if self.p99_ms is not None and not self.p99_ms > 0:
            raise ConfigError(f"--p99-ms must be > 0, got {self.p99_ms:g}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One measurement."""

    tuning: Tuning
    round: int | None  # of the finals, from 1; None: screening
    figures: Figures | None  # None: it failed
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the screening says of some settings."""

    relative: float  # throughput, to that of the exported settings
    p99_ms: float


@dataclass
class Search:
    """One search; what it has seen stays in it when it is interrupted.

    Args:
        measure: Serves with settings and measures them.
        config: Limits.
        say: Called with a line for each measurement.
        clock: Seconds that go on.
    """

    measure: Measure
    config: SearchConfig
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    trials: list[Trial] = field(default_factory=list)
    scores: dict[Tuning, Score] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)  # whole ones
    planned: int = 0  # rounds
    finalists: tuple[Tuning, ...] = ()
    alone: bool = False  # no other settings came near those as exported
    cut: bool = False  # there was not the time for everything that was to be tried

    def __post_init__(self) -> None:
        """Start the time."""
        self._started = self.clock()
        self._took_s: list[float] = []  # each screening measurement that did not fail

    def run(self, axes: Sequence[Axis], exported: Settings, *, first: Sequence[Tuning] = ()) -> None:
        """Screen and hold the finals, as far as the time goes.

        Args:
            axes: What to try; see ``trident.bench.tuning_space``.
            exported: The generation's settings.
            first: Tried before all others, such as those that were found another time.

        Raises:
            BenchError: If the exported settings cannot be measured.
        """
        measured = self._try(UNTUNED)
        if measured is None:
            raise BenchError(f"the settings as exported cannot be measured: {self.trials[-1].fault}")
        self.scores[UNTUNED] = Score(relative=1.0, p99_ms=measured.p99_ms)
        best, before = self._along(UNTUNED, first), None
        while best != before and not self.cut:  # until a way along every axis finds nothing better
            before = best
            for axis in axes:
                best = self._along(best, [changed(best, settings, exported) for settings in axis])
        self._hold_finals()

    def verdict(self) -> Verdict:
        """Return what is known by now; the settings as exported have been measured at least.

        Raises:
            BenchError: If nothing keeps the bound.
        """
        if self.rounds:
            return judge(self.rounds, p99_ms=self.config.p99_ms)
        bound_ms = self.config.p99_ms
        if not any(within(score.p99_ms, bound_ms) for score in self.scores.values()):
            assert bound_ms is not None
            raise unkept(bound_ms, {tuning: score.p99_ms for tuning, score in self.scores.items()})
        decided = self.alone and not self.cut and within(self.scores[UNTUNED].p99_ms, bound_ms)
        others = len(self.scores) - 1
        reason = f"the time was not enough to tell, at {self._screening_s():.0f} s a measurement"
        looked_best = max(self.scores, key=self._merit)
        if decided:
            reason = f"none of {others} other settings came near"
        elif looked_best != UNTUNED:
            relative = self.scores[looked_best].relative
            reason += f"; {looked_best} looked best, {relative:.2f} times the throughput in the screening"
        return Verdict(best=UNTUNED, decided=decided, reason=reason, bound_ms=bound_ms, finalists=())

    def left_s(self) -> float:
        """Return the seconds of the time limit that are left."""
        return self.config.limit_s - (self.clock() - self._started)

    def _may_screen(self, measurements: int) -> bool:
        """Return whether so many leave the time for finals."""
        least_s = 2 * fewest_rounds(1) * self._final_s()
        kept_s = max(least_s, (1 - SCREENING_SHARE) * self.config.limit_s)
        return self.left_s() - measurements * self._screening_s() >= kept_s

    def _screening_s(self) -> float:
        """Return how long a measurement of the screening takes."""
        return statistics.median(self._took_s)

    def _final_s(self) -> float:
        """Return how long a measurement of the finals takes."""
        return self._screening_s() + WINDOWS * (FINAL_WINDOWS - 1) * self.config.window_s

    def _along(self, best: Tuning, candidates: Sequence[Tuning]) -> Tuning:
        """Return the best of some settings and those that they start from; what was tried is not tried again."""
        tried = {trial.tuning for trial in self.trials}
        new = [tuning for tuning in candidates if tuning not in tried]
        if not new:
            return best
        if not self._may_screen(2):
            self.cut = True
            return best
        before = self._latest(best) or self._try(best)
        if before is None:  # what was best a moment ago cannot be measured now
            return best
        found: list[tuple[Tuning, Figures | None]] = []
        while len(found) < len(new) and self._may_screen(2):
            found.append((new[len(found)], self._try(new[len(found)])))
        self.cut |= len(found) < len(new)
        after = self._try(best) or before
        for place, (tuning, figures) in enumerate(found, start=1):
            if figures is not None:
                share = place / (len(found) + 1)
                beside_per_s = before.searches_per_s * (1 - share) + after.searches_per_s * share
                relative = self.scores[best].relative * figures.searches_per_s / beside_per_s
                self.scores[tuning] = Score(relative=relative, p99_ms=figures.p99_ms)
        rivals = [tuning for tuning, figures in found if figures is not None]
        rival = max(rivals, key=self._merit, default=best)
        return rival if self._merit(rival) > self._with_margin(self._merit(best)) else best

    def _latest(self, tuning: Tuning) -> Figures | None:
        """Return the last measurement where it was of some settings."""
        return self.trials[-1].figures if self.trials[-1].tuning == tuning else None

    def _merit(self, tuning: Tuning) -> tuple[bool, float]:
        """Return what is larger for better settings: within the bound by throughput, outside by latency."""
        score = self.scores[tuning]
        inside = within(score.p99_ms, self.config.p99_ms)
        return inside, score.relative if inside else -score.p99_ms

    @staticmethod
    def _with_margin(merit: tuple[bool, float]) -> tuple[bool, float]:
        """Return the merit from which on others are better by more than chance does now and then."""
        inside, value = merit
        return inside, value * (1 + LEAST_GAIN) if inside else value * (1 - LEAST_GAIN)

    def _hold_finals(self) -> None:
        merits = {tuning: self._merit(tuning) for tuning in self.scores}
        inside, value = max(merits.values())
        least = (inside, value * NEAR if inside else value / NEAR)
        near = [tuning for tuning, merit in merits.items() if tuning != UNTUNED and merit >= least]
        near.sort(key=lambda tuning: merits[tuning], reverse=True)
        self.alone = len(merits) > 1 and not near
        count, self.planned = affordable(
            self.left_s(), self._final_s(), finalists=min(FINALISTS, len(near)), rounds=self.config.rounds
        )
        self.finalists = tuple(near[:count])
        for number in range(self.planned):
            order = [UNTUNED, *self.finalists]
            if len(order) == 1 or len(order) * self._final_s() > self.left_s() + ROUNDING_S:
                return  # the finalists have failed, or the machine got slower than planned
            turned = number % len(order)
            found = {tuning: self._try(tuning, round_=number + 1) for tuning in order[turned:] + order[:turned]}
            if found[UNTUNED] is None:
                fault = next(trial.fault for trial in reversed(self.trials) if trial.tuning == UNTUNED)
                raise BenchError(f"the settings as exported cannot be measured any more: {fault}")
            self.finalists = tuple(tuning for tuning in self.finalists if found[tuning] is not None)
            self.rounds.append({tuning: figures for tuning, figures in found.items() if figures is not None})

    def _try(self, tuning: Tuning, *, round_: int | None = None) -> Figures | None:
        """Return what a measurement gives; None, with a trial that says why, where it fails twice."""
        window_s = self.config.window_s * (1 if round_ is None else FINAL_WINDOWS)
        where = f"trial {len(self.trials) + 1}" if round_ is None else f"final round {round_} of {self.planned}"
        figures, fault = None, None
        for _ in range(ATTEMPTS):
            started = self.clock()
            try:
                figures, fault = self.measure(tuning, window_s), None
            except BenchError as error:  # such as of a server that refused, since the machine stood still for a second
                fault = str(error)
            left = max(0, round(self.left_s()))
            self.say(f"{left // 60}:{left % 60:02d} left, {where}: {tuning}: {figures or f'failed: {fault}'}")
            if figures is not None:
                break
        if round_ is None and figures is not None:
            self._took_s.append(self.clock() - started)
        self.trials.append(Trial(tuning=tuning, round=round_, figures=figures, fault=fault))
        return figures
