"""What ``trident tune`` tries: axes of settings that belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trident.errors import ConfigError, nearest
from trident.generation.tuning import KNOBS, Tuning

Settings = Mapping[str, int]  # a value for each knob
Axis = tuple[Settings, ...]


def axes(cores: int, exported: Settings, knobs: Sequence[str] = tuple(KNOBS)) -> tuple[Axis, ...]:
    """Return what to try along each axis, the axes that matter most first.

    Instances and threads of the encoder are one axis: they share the cores, and the way from one good pair to another
    leads over bad ones.

    Args:
        cores: Of the machine.
        exported: The settings of the generation; each axis keeps those of the others.
        knobs: The names of those that may change.

    Raises:
        ConfigError: If a knob is unknown, or none is left.
    """
    for knob in knobs:
        if knob not in KNOBS:
            raise ConfigError(f"--knob must be one of {', '.join(KNOBS)}, got '{knob}'{nearest(knob, KNOBS)}")
    if not knobs:
        raise ConfigError(f"there must be a --knob to tune: {', '.join(KNOBS)}")
    ladder = _ladder(cores)
    pairs = [
        {"instances": instances, "threads": threads}
        for instances in ladder
        for threads in ladder
        if cores / 2 <= instances * threads <= 2 * cores  # fewer leave cores idle, more only fight for them
    ]
    every = (
        pairs,
        [{"index_threads": threads} for threads in ladder],
        [{"lone_threads": threads} for threads in ladder],
    )
    found = (tuple(_allowed(axis, exported, knobs)) for axis in every)
    return tuple(axis for axis in found if axis)


def changed(tuning: Tuning, settings: Settings, exported: Settings) -> Tuning:
    """Return a tuning with other settings; one that is as exported is left out."""
    new = {**tuning.changes(), **settings}
    return Tuning(**{name: value for name, value in new.items() if value != exported[name]})


def _allowed(axis: Sequence[Settings], exported: Settings, knobs: Sequence[str]) -> Iterator[Settings]:
    for settings in axis:
        kept = {name: value for name, value in settings.items() if name in knobs}
        if kept and all(value == exported[name] for name, value in settings.items() if name not in knobs):
            yield kept


def _ladder(cores: int) -> list[int]:
    """Return 1, 2, 4, … and the cores themselves."""
    return sorted({1 << step for step in range(cores.bit_length()) if 1 << step <= cores} | {cores})
