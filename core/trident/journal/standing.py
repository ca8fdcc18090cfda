"""How far each process is that answers over a live catalogue: what the health of a server is judged by.

<folder of the server>/readers/<serial of the generation>-<process id>, a few numbers that its process maps.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = "readers"
WORDS = 4  # number, checksum, time, and all of them mixed: the proof that they belong together
MIXED = 0x5DEECE66D5DEECE6
BITS = 2**64 - 1
TRIES = 100


@dataclass(frozen=True)
class Standing:
    """Where one process stands.

    Attributes:
        serial: Of the generation that it answers with.
        pid: Of the process.
        number: Of the operation that it has taken in last.
        checksum: Of all that changed since the generation; the same for all that stand at a number.
        age_s: Seconds since it said so.
    """

    serial: int
    pid: int
    number: int
    checksum: int
    age_s: float


class OwnStanding:
    """Tells where this process stands.

    Args:
        serving: The folder of the server.
        serial: Of the generation that it answers with.
    """

    def __init__(self, serving: Path, serial: int) -> None:
        """Map a file."""
        folder = serving / FOLDER
        folder.mkdir(exist_ok=True)
        self._path = folder / f"{serial}-{os.getpid()}"
        self._path.write_bytes(bytes(8 * WORDS))
        self._words = np.asarray(np.memmap(self._path, dtype=np.uint64, mode="r+", shape=(WORDS,)))

    def tell(self, number: int, checksum: int) -> None:
        """Tell it; one thread at a time."""
        now = time.monotonic_ns()
        self._words[3] = 0
        self._words[0], self._words[1], self._words[2] = number, checksum, now
        self._words[3] = _mixed(number, checksum, now)

    def close(self) -> None:
        """Take it back."""
        self._path.unlink(missing_ok=True)


def standings(serving: Path) -> list[Standing]:
    """Return where the living processes of a server stand, of all generations that are loaded.

    Args:
        serving: The folder of the server.
    """
    found = []
    for path in sorted((serving / FOLDER).glob("*-*")):
        serial, _, pid = path.name.partition("-")
        if not Path("/proc", pid).is_dir():  # it was killed
            path.unlink(missing_ok=True)
            continue
        words = _read(path)
        if words is not None:
            number, checksum, at_ns = words
            age_s = (time.monotonic_ns() - at_ns) / 1e9
            found.append(Standing(int(serial), int(pid), number, checksum, age_s))
    return found


def _read(path: Path) -> tuple[int, int, int] | None:
    for _ in range(TRIES):
        try:
            words = np.fromfile(path, dtype=np.uint64, count=WORDS).tolist()
        except OSError:  # it has just ended
            return None
        if len(words) == WORDS and words[3] and words[3] == _mixed(*words[:3]):
            return words[0], words[1], words[2]
        time.sleep(1e-4)  # it is between two words
    return None


def _mixed(number: int, checksum: int, at_ns: int) -> int:
    return (number * 3 ^ checksum ^ at_ns ^ MIXED) & BITS or 1
