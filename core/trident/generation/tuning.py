"""The knobs of the CPU variant's models: they change its speed, and no answer.

A new knob is one more field of ``Tuning``: the file and setting that it writes, and its range. What ``trident tune``
tries for it stands in ``trident.bench.tuning_space``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trident.errors import ConfigError, GenerationError
from trident.generation.pbtxt import setting, with_setting

VARIANT = "cpu"  # the one that has knobs
PIPELINE_CONFIG = "pipeline/config.pbtxt"
MOST_THREADS = 1024


@dataclass(frozen=True)
class Knob:
    """Where a setting stands, and what it may be."""

    file: str  # in the model repository
    setting: str  # a path of trident.generation.pbtxt
    lowest: int
    highest: int


def _knob(setting: str, lowest: int, highest: int) -> Any:
    return field(default=None, metadata={"knob": Knob(PIPELINE_CONFIG, setting, lowest, highest)})


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Settings that take the place of those of a generation's configuration; None: as it was exported."""

    instances: int | None = _knob("instance_group.count", 1, 256)  # each has its own copy of graph and index
    threads: int | None = _knob("parameters.threads", 1, MOST_THREADS)  # of the encoder, each instance
    index_threads: int | None = _knob("parameters.index_threads", 1, MOST_THREADS)  # that search the index for a batch
    lone_threads: int | None = _knob("parameters.lone_threads", 1, MOST_THREADS)  # for a query that is alone

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, value in self.changes().items():
            knob = KNOBS[name]
            if not knob.lowest <= value <= knob.highest:
                raise ConfigError(f"{name} must be {knob.lowest} to {knob.highest:,}, got {value}")

    def __str__(self) -> str:
        """Return such as ``instances 2, threads 1``."""
        return ", ".join(f"{name} {value}" for name, value in self.changes().items()) or "as exported"

    def changes(self) -> dict[str, int]:
        """Return the settings that are not as exported."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def applied(self, file: str, text: str) -> str:
        """Return the text of a file of the model repository with the settings in it.

        Raises:
            GenerationError: If the file has no place for one of them.
        """
        for name, value in self.changes().items():
            if KNOBS[name].file == file:
                try:
                    text = with_setting(text, KNOBS[name].setting, value)
                except GenerationError as error:
                    raise GenerationError(
                        f"{name} cannot be set in {file}: {error}; export again, or serve with --tuning none"
                    ) from error
        return text


KNOBS: dict[str, Knob] = {each.name: each.metadata["knob"] for each in fields(Tuning)}
UNTUNED = Tuning()


def exported_settings(repository: Path) -> dict[str, int]:
    """Return the value of each knob in a generation's model repository.

    Raises:
        GenerationError: If a file is missing, damaged, or has no place for a knob.
    """
    found: dict[str, int] = {}
    for name, knob in KNOBS.items():
        try:
            found[name] = int(setting((repository / knob.file).read_text(encoding="utf-8"), knob.setting))
        except (OSError, ValueError, GenerationError) as error:
            raise GenerationError(
                f"{name} cannot be read in {repository / knob.file}: {error}; export again"
            ) from error
    return found
