#!/usr/bin/env bash
# faiss: a filter that few products pass leaves the answer of an HNSW index all but empty.
#
# What surprises: sel is handed to the search itself, and is no sieve behind it, so of ten asked for and a hundred
# allowed one expects ten. But the search still walks towards the query and stops when the efSearch best places it has
# seen, allowed or not, get no better; only those it met and that are allowed are put out. The rest of the answer is
# -1, without an error. The fewer pass the filter, the less is found: of 10 products allowed among 20,000 less than one,
# and of 100 two. -1 is a valid place in Python and NumPy: titles[-1] is the last product of the catalogue. hnswlib
# counts only what is allowed towards the width of the search, and goes on. Remedy: a wider efSearch the fewer pass, and
# an exact search below some share.
# Trident looks through the permitted rows one by one where they are few.
#
# Software: faiss-cpu 1.15.1.
# Seen, ten asked for among 20,000 with efSearch 64, on average: 10 allowed .7, 100 allowed 6.5, 1,000 allowed 10; with
# efSearch 16 .2, 2.0 and 10; a flat index 10 each.
# Source: facebookresearch/faiss issue 3186 (a report of -1, closed), nmslib/hnswlib pull request 430 (that
# hnswlib goes on); the figures measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    faiss-cpu==1.15.1 numpy==2.4.6 || exit 2

OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'END'
import sys

import faiss
import numpy

PRODUCTS, QUERIES, K = 20_000, 200, 10
random = numpy.random.default_rng(0)
vectors = random.standard_normal((PRODUCTS, 32)).astype(numpy.float32)
faiss.normalize_L2(vectors)
queries = vectors[:QUERIES]
graph = faiss.IndexHNSWFlat(32, 16, faiss.METRIC_INNER_PRODUCT)
graph.add(vectors)
flat = faiss.IndexFlatIP(32)
flat.add(vectors)


def filled(index, parameters):
    """Return how many of the ten places have a product, on average."""
    found = index.search(queries, K, params=parameters)[1]
    return float((found >= 0).sum(axis=1).mean())


print(f"of {K} asked for among {PRODUCTS:,}, found on average")
seen = {}
for count in (10, 100, 1000):
    allowed = numpy.sort(random.choice(PRODUCTS, count, replace=False))
    selector = faiss.IDSelectorBatch(allowed)
    by_width = [filled(graph, faiss.SearchParametersHNSW(sel=selector, efSearch=width)) for width in (16, 64)]
    whole = filled(flat, faiss.SearchParameters(sel=selector))
    seen[count] = (*by_width, whole)
    print(f"  {count} allowed: HNSW, efSearch 16 {by_width[0]:.1f}, efSearch 64 {by_width[1]:.1f}; flat {whole:.1f}")

as_seen = (
    all(whole == K for *_, whole in seen.values())
    and seen[10][0] < 2
    and seen[10][1] < 4
    and seen[100][0] < 5
    and seen[100][1] < 9
    and seen[1000][1] > 9.5
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
