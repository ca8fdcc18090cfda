"""Serial numbers: each is given to one generation of a folder and never again, even after that one is removed.

A response cache keeps answers by Triton's version number, which is the serial number: a number used twice would answer
with another generation's products.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trident.generation.durable import make_folder
from trident.generation.generation import list_generations
from trident.generation.staging import write_text

LAST_SERIAL_FILE = ".serial"


@contextmanager
def generations_lock(folder: Path) -> Iterator[None]:
    """Hold a folder of generations for oneself while an id and a serial number are given out, or one is removed."""
    make_folder(folder)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def next_serial(folder: Path) -> int:
    """Return one more than any serial number that was given out in a folder; call it under ``generations_lock``."""
    serial = _last_serial(folder) + 1
    write_text(folder / LAST_SERIAL_FILE, f"{serial}\n")
    return serial


def _last_serial(folder: Path) -> int:
    highest = max((generation.serial for generation in list_generations(folder)), default=0)
    with suppress(FileNotFoundError, ValueError):
        highest = max(highest, int((folder / LAST_SERIAL_FILE).read_text(encoding="utf-8")))
    return highest
