"""The number that was published last, in shared memory: what the writer's readers, in other processes, go up to."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from trident.generation.holds import Position
from trident.journal.lineage import Lineage

RECORD = 3  # words: number, branch, and both of them mixed: the proof that they belong together
WORDS = 2 * RECORD  # it stands there twice: while one is written, or its writer stands still, the other is whole
MIXED = 0x5DEECE66D5DEECE6
TRIES = 100


class Published:
    """The last durable number of a log, in a file that several processes map.

    Args:
        path: Of the file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        """Map the file."""
        with path.open("ab") as file:
            file.truncate(8 * WORDS)  # of another process, it has that size already
        mapped = np.memmap(path, dtype=np.uint64, mode="r+", shape=(WORDS,))
        self._words = np.asarray(mapped)  # the same memory; a word is stored at once

    def read(self) -> tuple[int, str] | None:
        """Return number and branch; None where nothing was published, or a power cut left something else."""
        for attempt in range(TRIES):
            words = self._words.tolist()
            for number, branch, mixed in (words[:RECORD], words[RECORD:]):
                if mixed == number ^ branch ^ MIXED:
                    return number, f"{branch:016x}"
            if attempt > 10:
                time.sleep(1e-5)  # the writer went from one to the other meanwhile
        return None

    def promised(self) -> Position | None:
        """Return it as the number that was answered with last."""
        found = self.read()
        return None if found is None else Position(log="", epoch=0, branch=found[1], number=found[0])

    def write(self, number: int, lineage: Lineage) -> None:
        """Publish a number; it must be durable."""
        branch = int(lineage.epochs[-1].branch, 16)
        for first in (0, RECORD):
            self._words[first + 1] = branch
            self._words[first] = number
            self._words[first + 2] = number ^ branch ^ MIXED
