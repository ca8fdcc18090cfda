"""What a catalogue takes, on paper: measured figures of one product carried on to a billion, for docs/scale.md.

    python bench/scale.py

Nothing is run. Each constant says where it was measured, or who published it. Vectors have 384 numbers.
"""

from __future__ import annotations

import math
import sys

DIMENSION = 384
SIZES = (10**6, 10**7, 10**8, 10**9)
MEASURED = 10**5  # vectors, where the graph was: docs/log/index.md, 2026-11-29
# Files of an index, bytes a vector: 153.6, 38.4, 25 and 2 MB of 100,000.
VECTOR, CODES, LINKS, REST = 4 * DIMENSION, DIMENSION, 250, 20
TEXTS = 90  # bytes of id and title: 45 MB of half a million, docs/log/export.md
ATTRIBUTES = 48  # of six fields: four bytes a row by value, and by row
BUILD_MS = 0.82  # of CPU a vector, m 32, ef_construction 300
SEARCH_MS = 0.63  # of CPU a query, ef 256
EMBED_MS = 2 * 1000 / 317  # of CPU a title: 317 a second on two cores
SERVER = 0.5 * 2**30  # encoder, Triton, programs
# An engine with codes in memory: its graph has 2 * m links of four bytes, and half as much again is its own advice.
ENGINE_LINKS, ENGINE_MARGIN = 2 * 32 * 4, 1.5
PAYLOAD = 600  # bytes of a product as JSON, on disk, and what is indexed of it
INDEXED = 60  # of that in memory
REPLICAS = 2
# Amazon EC2, us-east-1, Linux, on demand, m7g.large, 2026-06-17: two processors, 8 GiB; larger ones cost in proportion.
PRICE, PROCESSORS, MEMORY_GIB, LARGEST_GIB = 0.0816, 2, 8, 256
USABLE = 0.8  # of a machine's memory
HOURS = 730  # a month


def grown(milliseconds: float, products: int) -> float:
    """Return the time of one vector or query in a graph of so many: it grows with the logarithm."""
    return milliseconds * math.log2(products) / math.log2(MEASURED)


def machines(resident: float) -> tuple[int, int]:
    """Return how many machines hold so many bytes, and the GiB of each."""
    needed = resident / 2**30 / USABLE
    if needed <= LARGEST_GIB:
        return 1, max(MEMORY_GIB, 2 ** math.ceil(math.log2(needed)))
    return math.ceil(needed / LARGEST_GIB), LARGEST_GIB


def dollars(count: int, gib: int) -> float:
    """Return what machines cost an hour."""
    return count * gib / MEMORY_GIB * PRICE


def size(size_bytes: float) -> str:
    """Return bytes as people read them."""
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes < 1e12 else f"{size_bytes / 1e12:,.2f} TB"


def hours(seconds: float) -> str:
    """Return processor seconds as hours or days."""
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} d"


def row(name: str, products: int, resident: float, disk: float, copies: int) -> str:
    """Return a row of the table."""
    count, gib = machines(resident)
    price = copies * dollars(count, gib)
    cells = (
        f"{products:,}",
        name,
        size(resident),
        size(disk),
        f"{copies} x {count} x {gib} GiB",
        f"{price:,.2f}",
        f"{price * HOURS:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def main() -> None:
    """Print both tables."""
    say("| products | where | memory of a copy | disk of a copy | machines | $ an hour | $ a month |")
    say("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for products in SIZES:
        resident = products * (CODES + LINKS + REST + TEXTS + ATTRIBUTES) + SERVER
        say(row("files", products, resident, products * (VECTOR + CODES + LINKS + REST + TEXTS), REPLICAS))
        engine = products * ((CODES + ENGINE_LINKS) * ENGINE_MARGIN + INDEXED)
        disk = products * (VECTOR + CODES + ENGINE_LINKS + PAYLOAD)
        say(row("store, 8 bits", products, engine, disk, REPLICAS))
        whole = products * (VECTOR * ENGINE_MARGIN + ENGINE_LINKS + INDEXED)
        say(row("store, float32", products, whole, disk, REPLICAS))
    say("\n| products | embedding, one core | graph, one core | a walk, CPU ms | comparing all, CPU ms |")
    say("| ---: | ---: | ---: | ---: | ---: |")
    for products in SIZES:
        cells = (
            f"{products:,}",
            hours(products * EMBED_MS / 1000),
            hours(products * grown(BUILD_MS, products) / 1000),
            f"{grown(SEARCH_MS, products):.2f}",
            f"{1.3 * products / MEASURED:,.0f}",
        )
        say(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
