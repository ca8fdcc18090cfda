"""Searches settings within a time limit: one axis after another by short measurements, then the best in turns.

Every measurement is of a server started for it. Short ones differ by what the machine does meanwhile; so they only
choose who comes to the finals (``trident.bench.tuning_finals``), where each round measures all finalists and the
exported settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trident.bench.tuning_finals import Figures, Round, Verdict, affordable, judge, unkept, within
from trident.bench.tuning_space import Axis, Settings, changed
from trident.errors import BenchError, ConfigError
from trident.tuning import UNTUNED, Tuning

SCREENING_SHARE = 0.5  # of the time; the rest is for the finals
FINALISTS = 3
NEAR = 0.95  # of the best's throughput: such a finalist may be the better one
FINAL_WINDOWS = 2  # as long as those of the screening

Measure = Callable[[Tuning, float], Figures]  # settings and seconds of a window


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How long to search, and what is wanted."""

    limit_s: float = 600.0
    window_s: float = 1.5  # three of them a measurement
    p99_ms: float | None = None  # the most that it may be; None: what the finals take from the exported settings

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.limit_s > 0:
            raise ConfigError(f"--minutes must be > 0, got {self.limit_s / 60:g}")
        if not self.window_s >= 0.1:
            raise ConfigError(f"--window must be >= 0.1 seconds, got {self.window_s:g}")
        if self.p99_ms is not None and not self.p99_ms > 0:
            raise ConfigError(f"--p99-ms must be > 0, got {self.p99_ms:g}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One measurement."""

    tuning: Tuning
    round: int | None  # of the finals, from 1; None: screening
    figures: Figures | None  # None: it failed
    fault: str | None = None


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
    rounds: list[Round] = field(default_factory=list)  # whole ones
    planned: int = 0  # rounds
    finalists: tuple[Tuning, ...] = ()
    alone: bool = False  # no other settings came near those as exported

    def __post_init__(self) -> None:
        """Start the time."""
        self._started = self.clock()
        self._longest_s = 0.0  # that a screening measurement took

    def run(self, axes: Sequence[Axis], exported: Settings, *, first: Sequence[Tuning] = ()) -> None:
        """Screen and hold the finals, as far as the time goes.

        Args:
            axes: What to try; see ``trident.bench.tuning_space``.
            exported: The generation's settings.
            first: Tried before all others, such as those that were found another time.

        Raises:
            BenchError: If the exported settings cannot be measured, or nothing keeps the bound by far.
        """
        best = UNTUNED
        if self._try(UNTUNED) is None:
            raise BenchError(f"the settings as exported cannot be measured: {self.trials[-1].fault}")
        for tuning in first:
            best = self._better(best, tuning)
        before = None
        while best != before and self._may_screen():  # until a way along every axis finds nothing better
            before = best
            for axis in axes:
                start = best
                for settings in axis:
                    best = self._better(best, changed(start, settings, exported))
        self._hold_finals()

    def seen(self) -> dict[Tuning, Figures]:
        """Return what the screening saw of each setting that could be measured."""
        return {trial.tuning: trial.figures for trial in self.trials if trial.round is None and trial.figures}

    def verdict(self) -> Verdict:
        """Return what is known by now; the settings as exported have been measured at least.

        Raises:
            BenchError: If nothing keeps the bound.
        """
        if self.rounds:
            return judge(self.rounds, p99_ms=self.config.p99_ms)
        seen, bound_ms = self.seen(), self.config.p99_ms
        if bound_ms is not None and not any(within(figures.p99_ms, bound_ms) for figures in seen.values()):
            raise unkept(bound_ms, {tuning: figures.p99_ms for tuning, figures in seen.items()})
        decided = self.alone and within(seen[UNTUNED].p99_ms, bound_ms)
        reason = f"none of {len(seen) - 1} other settings came near" if decided else "the time was not enough to tell"
        return Verdict(best=UNTUNED, decided=decided, reason=reason, bound_ms=bound_ms, finalists=())

    def left_s(self) -> float:
        """Return the seconds of the time limit that are left."""
        return self.config.limit_s - (self.clock() - self._started)

    def _may_screen(self) -> bool:
        spent_s = self.config.limit_s - self.left_s()
        return spent_s + self._longest_s <= SCREENING_SHARE * self.config.limit_s

    def _better(self, best: Tuning, tuning: Tuning) -> Tuning:
        """Return the better of two settings; the new one is measured if there is time, once only."""
        if tuning not in {trial.tuning for trial in self.trials} and self._may_screen():
            self._try(tuning)
        seen = self.seen()
        return max((each for each in (best, tuning) if each in seen), key=lambda each: self._merit(seen[each]))

    def _merit(self, figures: Figures) -> tuple[bool, float]:
        """Return what is larger for better figures: within the bound by throughput, outside by latency."""
        inside = within(figures.p99_ms, self.config.p99_ms)
        return inside, figures.searches_per_s if inside else -figures.p99_ms

    def _hold_finals(self) -> None:
        seen = self.seen()
        merits = {tuning: self._merit(figures) for tuning, figures in seen.items()}
        best = max(merits.values())
        near = [
            tuning
            for tuning, (inside, merit) in merits.items()
            if tuning != UNTUNED and inside == best[0] and merit >= (NEAR if inside else 1 / NEAR) * best[1]
        ]
        self.alone = len(seen) > 1 and not near
        near.sort(key=lambda tuning: merits[tuning], reverse=True)
        cost_s = self._longest_s + 3 * (FINAL_WINDOWS - 1) * self.config.window_s
        count, self.planned = affordable(self.left_s(), cost_s, min(FINALISTS, len(near)))
        self.finalists = tuple(near[:count])
        for number in range(self.planned):
            if not self.finalists:  # they have failed
                return
            order = [UNTUNED, *self.finalists]
            turned = number % len(order)
            found = {tuning: self._try(tuning, round_=number + 1) for tuning in order[turned:] + order[:turned]}
            if found[UNTUNED] is None:
                raise BenchError(f"the settings as exported cannot be measured any more: {self.trials[-1].fault}")
            self.finalists = tuple(tuning for tuning in self.finalists if found[tuning] is not None)
            self.rounds.append({tuning: figures for tuning, figures in found.items() if figures is not None})

    def _try(self, tuning: Tuning, *, round_: int | None = None) -> Figures | None:
        """Return what a measurement gives; None, with a trial that says why, where it fails."""
        started, figures, fault = self.clock(), None, None
        try:
            window_s = self.config.window_s * (1 if round_ is None else FINAL_WINDOWS)
            figures = self.measure(tuning, window_s)
        except BenchError as error:
            fault = str(error)
        if round_ is None:
            self._longest_s = max(self._longest_s, self.clock() - started)
        self.trials.append(Trial(tuning=tuning, round=round_, figures=figures, fault=fault))
        left = max(0, round(self.left_s()))
        where = f"trial {len(self.trials)}" if round_ is None else f"final round {round_} of {self.planned}"
        self.say(f"{left // 60}:{left % 60:02d} left, {where}: {tuning}: {figures or f'failed: {fault}'}")
        return figures
