"""A look at a large file that costs milliseconds: its size, both ends, and blocks spread evenly over it.

It catches a file that was cut off, filled up with zeros, swapped, or written again; not one byte changed in the middle
of gigabytes, which only the whole hash catches. A small file is read whole.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE_BYTES = 64 * 2**20  # up to which all of a file is read: 0.05 s
END_BYTES = 2**20  # of each end: headers, footers and records stand there
BLOCK_BYTES = 4096  # a page
BLOCKS = 256


def sample_sha256(path: Path) -> str:
    """Return the SHA-256 over a file's size and a sample of its bytes, hexadecimal; over all of a small one.

    Raises:
        OSError: If it cannot be read.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}:".encode())
    with path.open("rb", buffering=0) as file:
        for start, length in _places(size):
            file.seek(start)
            left = length
            while left and (block := file.read(min(left, END_BYTES))):  # nothing: cut off meanwhile, as the hash says
                digest.update(block)
                left -= len(block)
    return digest.hexdigest()


def _places(size: int) -> list[tuple[int, int]]:
    """Return (start, length) of what is read of a file of a size."""
    if size <= WHOLE_BYTES:
        return [(0, size)]
    inner = size - 2 * END_BYTES - BLOCK_BYTES
    blocks = [(END_BYTES + inner * number // (BLOCKS - 1), BLOCK_BYTES) for number in range(BLOCKS)]
    return [(0, END_BYTES), *blocks, (size - END_BYTES, END_BYTES)]
