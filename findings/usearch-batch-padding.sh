#!/usr/bin/env bash
# usearch: where a batch of queries finds fewer than asked for, the answer is filled up with product 0.
#
# What surprises: for one query search() gives as many keys as it found. For a batch it gives a full table, and the
# places that nothing was found for hold the key 0, which is as good a product as any: not -1 as in faiss, and no error
# as in hnswlib. It happens in small categories and tenants, and as products are removed. The distances beside are NaN,
# which sorts last in NumPy and first elsewhere, and compares as nothing; .counts says how many are true. Code that was
# tried on one query at a time, or on a batch with products enough, shows a product that was not even in the index, or
# lifts product 0 in whatever counts how often a product is found. Remedy: cut each row at .counts, or begin keys at 1.
#
# Software: usearch 2.26.6.
# Seen, products 7, 8 and 9, five asked for: one query 3 keys, two queries 5 keys each, the last two 0 with NaN, counts
# 3; after 8 is removed, three asked for, 7, 9 and 0.
# Source: huggingface/sentence-transformers pull request 3956 met it; what the batch holds measured, 2026-12-01.
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

vectors = numpy.eye(3, dtype=numpy.float32) + 0.1
index = Index(ndim=3, metric="cos", dtype="f32")
index.add(numpy.array([7, 8, 9]), vectors)

one = index.search(vectors[0], 5).keys.tolist()
batch = index.search(vectors[:2], 5)
keys, counts = batch.keys.tolist(), batch.counts.tolist()
fill = batch.distances[:, 3:]
index.remove(8)
removed = index.search(vectors[:2], 3).keys.tolist()
print("products 7, 8 and 9, five asked for")
print(f"  one query: {one}")
print(f"  two queries: {keys}, counts {counts}, distances of the last two {fill.tolist()}")
print(f"  product 8 removed, three asked for by two queries: {removed}")

as_seen = (
    sorted(one) == [7, 8, 9]
    and all(sorted(row) == [0, 0, 7, 8, 9] and row[3:] == [0, 0] for row in keys)
    and counts == [3, 3]
    and bool(numpy.isnan(fill).all())
    and all(sorted(row) == [0, 7, 9] and row[2] == 0 for row in removed)
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
