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
QUERY_MS = 0.93  # of CPU a query's embedding, in batches: docs/log/lexical.md
WORDS = 134  # bytes a title of electronics, 2.6 MB of 19,406; a name of 3.4 words has 27
WORDS_MS, WORDS_NS = 0.09, 0.79  # of CPU a query, and of each title, of such names: docs/log/scale.md
CHANGES = 9  # bytes a product of a server over a store where anything changed: ids in order, what is gone, what changed
SEARCHES = 1000  # a second
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


def words(products: int) -> float:
    """Return the milliseconds of CPU of a query's words: every title that has one is looked at."""
    return WORDS_MS + WORDS_NS * products / 1e6


def searches(products: int, parts: int, gib: int, *, with_words: bool) -> float:
    """Return the searches a second of a copy of the files in so many parts: each part walks, words are cut up."""
    cost = QUERY_MS + parts * grown(SEARCH_MS, products // parts) + (words(products) if with_words else 0)
    return parts * gib / MEMORY_GIB * PROCESSORS * 1000 / cost


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


def of_files(products: int) -> float:
    """Return the bytes of memory of a server that searches files, by vectors and words."""
    return products * (CODES + LINKS + REST + TEXTS + ATTRIBUTES + WORDS) + SERVER


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def main() -> None:
    """Print the tables."""
    say("| products | where | memory of a copy | disk of a copy | machines | $ an hour | $ a month |")
    say("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for products in SIZES:
        resident = of_files(products)
        disk = products * (VECTOR + CODES + LINKS + REST + TEXTS + WORDS + ATTRIBUTES)
        say(row("files", products, resident, disk, REPLICAS))
        engine = products * ((CODES + ENGINE_LINKS) * ENGINE_MARGIN + INDEXED)
        disk = products * (VECTOR + CODES + ENGINE_LINKS + PAYLOAD)
        say(row("store, 8 bits", products, engine, disk, REPLICAS))
        whole = products * (VECTOR * ENGINE_MARGIN + ENGINE_LINKS + INDEXED)
        say(row("store, float32", products, whole, disk, REPLICAS))
    say("\n| products | embedding, a core | graph, a core | walk, CPU ms | comparing all, CPU ms | words, CPU ms |")
    say("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for products in SIZES:
        cells = (
            f"{products:,}",
            hours(products * EMBED_MS / 1000),
            hours(products * grown(BUILD_MS, products) / 1000),
            f"{grown(SEARCH_MS, products):.2f}",
            f"{1.3 * products / MEASURED:,.0f}",
            f"{words(products):,.1f}",
        )
        say(f"| {' | '.join(cells)} |")
    say("\n| products | files, parts | searches/s of a copy, vectors | with words | copies for 1,000/s | $ a month |")
    say("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for products in SIZES:
        parts, gib = machines(of_files(products))
        rates = [searches(products, parts, gib, with_words=both) for both in (False, True)]
        copies = [max(REPLICAS, math.ceil(SEARCHES / rate)) for rate in rates]
        price = [each * dollars(parts, gib) * HOURS for each in copies]
        cells = (
            f"{products:,}",
            f"{parts} x {gib} GiB",
            f"{rates[0]:,.0f}",
            f"{rates[1]:,.0f}",
            f"{copies[0]}; {copies[1]}",
            f"{price[0]:,.0f}; {price[1]:,.0f}",
        )
        say(f"| {' | '.join(cells)} |")
    say(
        "\n| products | a server over a store, with words and rules | words, CPU ms | p99 of all parts is this of one |"
    )
    say("| ---: | ---: | ---: | ---: |")
    for products in SIZES:
        here = products * (WORDS + ATTRIBUTES + TEXTS + CHANGES) + SERVER
        parts, _ = machines(products * (VECTOR * ENGINE_MARGIN + ENGINE_LINKS + INDEXED))
        cells = (f"{products:,}", size(here), f"{words(products):,.1f}", f"p{100 * 0.99 ** (1 / parts):.2f} ({parts})")
        say(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
