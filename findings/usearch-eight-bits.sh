#!/usr/bin/env bash
# usearch: its 8 bits are laid over the length of each vector, and with many dimensions most of them are never used.
#
# What surprises: dtype="i8" looks like one byte a number, and is one. But each float vector is divided by its own
# length before it is rounded to 127 steps, and in a vector of length 1 with 384 dimensions hardly a number reaches 0.2:
# most of the 255 codes are never used, and the more dimensions, the fewer are. Recall falls with them, without an
# error. And the lengths are gone: metric="l2sq" and "ip" then order by the angle alone, so that [.3, .3, …] is at
# distance 0 from [.1, .1, …], and whatever a service put into the length (popularity, a boost) has no effect; the
# distances come on a scale of their own. Remedy: round by the largest number of the whole catalogue and hand over int8
# arrays, of products and of queries: they are stored as they come.
#
# Software: usearch 2.26.6.
# Seen, 4,000 products in 40 groups, recall@10 of an exact search and codes in use, of floats as usearch rounds them and
# rounded by the largest number: 32 dimensions .919 and 164, .951 and 234; 384 .743 and 59, .948 and 246; 1,024 .621 and
# 37, .947 and 247. l2sq from [.1, …] to itself, [.2, …] and [.3, …]: f32 0, .08, .32; i8 0, 0, 0.
# Source: unum-cloud/USearch issue 405 has the scale of the distances and that codes are lost; how many, and what it
# costs, measured, 2026-11-30.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    usearch==2.26.6 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import numpy
from usearch.index import Index

PRODUCTS, QUERIES, K = 4000, 100, 10
random = numpy.random.default_rng(0)


def unit(vectors):
    return (vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)).astype(numpy.float32)


def found(vectors, queries, nearest):
    """Return recall@10 of an exact search in 8 bits, and the codes that are stored."""
    index = Index(ndim=vectors.shape[1], metric="cos", dtype="i8")
    index.add(numpy.arange(len(vectors)), vectors, threads=1)
    keys = index.search(queries, K, exact=True, threads=1).keys
    hits = [len(set(mine) & set(right)) for mine, right in zip(keys.tolist(), nearest.tolist(), strict=True)]
    return sum(hits) / (K * len(hits)), index.get(numpy.arange(len(vectors)), dtype="i8")


print("recall@10 of an exact search in 8 bits, and how many of 255 codes are in use")
recalls, codes = {}, {}
for dimensions in (32, 384, 1024):
    groups = unit(random.standard_normal((40, dimensions)))
    spread = [unit(random.standard_normal((count, dimensions))) for count in (PRODUCTS, QUERIES)]
    products, queries = (unit(groups[random.integers(0, 40, len(each))] + 0.3 * each) for each in spread)
    nearest = numpy.argsort(-(queries @ products.T), axis=1)[:, :K]
    step = numpy.abs(products).max() / 127
    own = [numpy.clip(numpy.rint(each / step), -127, 127).astype(numpy.int8) for each in (products, queries)]
    given, stored = found(products, queries, nearest)
    rounded, kept = found(*own, nearest)
    recalls[dimensions], codes[dimensions] = (given, rounded), (len(numpy.unique(stored)), len(numpy.unique(kept)))
    print(
        f"  {dimensions} dimensions: floats {given:.3f} and {codes[dimensions][0]}, "
        f"rounded by the largest number {rounded:.3f} and {codes[dimensions][1]}"
    )

vectors = numpy.array([[0.1] * 8, [0.2] * 8, [0.3] * 8], dtype=numpy.float32)
distances = {}
for dtype in ("f32", "i8"):
    index = Index(ndim=8, metric="l2sq", dtype=dtype)
    index.add(numpy.arange(3), vectors)
    distances[dtype] = sorted(index.search(vectors[0], 3, exact=True).distances.round(2).tolist())
print(f"l2sq from [.1, …] to [.1, …], [.2, …], [.3, …]: f32 {distances['f32']}, i8 {distances['i8']}")

as_seen = (
    all(used < 80 for used, _ in (codes[384], codes[1024]))
    and all(recalls[dimensions][0] < recalls[dimensions][1] - 0.03 for dimensions in (384, 1024))
    and recalls[1024][0] < recalls[32][0]
    and max(distances["i8"]) == 0 < min(distances["f32"][1:])
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
