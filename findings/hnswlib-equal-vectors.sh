#!/usr/bin/env bash
# hnswlib: many copies of one vector cost the queries that have nothing to do with it their answers.
#
# What surprises: rows without a title, or with the same one, have one vector. One expects that copies crowd each other
# out of the answers near them, and harm nothing else. They ruin the rest: the links of a copy go to other copies, and a
# search that comes into the group does not come out. Queries are answered with vectors that are far
# off, at full length and without an error, and the more copies, the worse; four times the ef does not mend it. The rows
# are shuffled here, so it is not the doing of their order. Taking each vector once brings the recall back.
#
# Software: hnswlib 0.8.0; l2, M = 16, ef_construction = 200, one thread. It is compiled: g++ and Python's headers are
# needed.
# Seen, recall@10 of 200 queries over 5,000 different vectors of 32 dimensions, beside n copies of one in their middle,
# at ef 64 and 256: n = 0 .984 and 1.000, 50 .926 and 1.000, 500 .218 and .326, 2,000 .127 and .133.
# Source: nmslib/hnswlib issue 263 has copies that are not found among other copies; qdrant/qdrant pull request 10239 says
# why all others suffer, for a graph whose links are chosen alike; the figures measured, 2026-11-29.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
# One machine code everywhere, not the one that fits this processor best.
HNSWLIB_NO_NATIVE=1 "$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    hnswlib==0.8.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import hnswlib
import numpy

DIFFERENT, DIMENSIONS, K = 5000, 32, 10
random = numpy.random.default_rng(0)


def towards(middle, count):
    """Return vectors of length 1 around the middle."""
    vectors = random.standard_normal((count, DIMENSIONS))
    vectors = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True) + middle
    return (vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)).astype(numpy.float32)


middle = numpy.full(DIMENSIONS, DIMENSIONS**-0.5)
products, queries = towards(middle, DIFFERENT), towards(middle, 200)


def recall(times):
    """Return recall@10 at ef 64 and 256; whatever is as near as the tenth counts as right."""
    rows = random.permutation(numpy.vstack([products, numpy.tile(middle.astype(numpy.float32), (times, 1))]))
    index = hnswlib.Index("l2", DIMENSIONS)
    index.init_index(len(rows), M=16, ef_construction=200, random_seed=1)
    index.set_num_threads(1)
    index.add_items(rows)
    exact = ((queries[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2)
    tenth = numpy.sort(exact, axis=1)[:, K - 1]
    found = []
    for ef in (64, 256):
        index.set_ef(ef)
        _, distances = index.knn_query(queries, k=K)
        found.append(float((distances <= tenth[:, None] + 1e-5).mean()))
    return found


print(f"recall@{K} of 200 queries over {DIFFERENT} different vectors, at ef 64 and 256")
seen = {}
for times in (0, 50, 500, 2000):
    seen[times] = recall(times)
    print(f"  {times} copies of one vector beside them: {seen[times][0]:.3f} and {seen[times][1]:.3f}")

as_seen = min(seen[0]) > 0.95 and max(seen[500]) < 0.75 and max(seen[2000]) < 0.5
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
