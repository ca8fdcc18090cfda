"""The table of an export: one row a stage, with its time, size and proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trident.generation.generation import walk


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage took and proved."""

    stage: str
    seconds: float
    size_bytes: int  # of what the stage left; 0 when it left nothing
    proof: str
    speed: str = ""  # on this machine, of what the stage left


@dataclass
class StageNotes:
    """What a running stage has to say about itself."""

    proof: str = ""
    speed: str = ""
    path: Path | None = None  # file or folder that the stage left


@dataclass
class Stages:
    """Collects the rows; ``report`` is called with each as it is done."""

    report: Callable[[Stage], None]
    rows: list[Stage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageNotes]:
        """Time a stage; the block fills in the yielded notes."""
        started = time.perf_counter()
        notes = StageNotes()
        yield notes
        size = (
            0
            if notes.path is None or not notes.path.exists()
            else sum(file.stat().st_size for file in _files(notes.path))
        )
        row = Stage(
            stage=name, seconds=time.perf_counter() - started, size_bytes=size, proof=notes.proof, speed=notes.speed
        )
        self.rows.append(row)
        self.report(row)


def _files(path: Path | None) -> list[Path]:
    if path is None or not path.exists():
        return []
    return [path] if path.is_file() else walk(path)
