#!/usr/bin/env bash
# faiss: a filter given to an index that refines, or that rotates first, is accepted and does nothing.
#
# What surprises: every kind of search parameters has the field sel, and an index that rescores 8-bit candidates
# (IndexRefineFlat, "SQ8,RFlat" of the factory) takes parameters of its own, IndexRefineSearchParameters. With sel set
# there it answers at full length, without an error, and with products that the filter forbids: nobody reads that field.
# A plain SearchParameters with sel, which the 8-bit index alone obeys, is refused, so that following the error leads to
# the parameters that ignore it. An index that turns its vectors first ("RR,Flat", and so OPQ and PCA) ignores sel in
# SearchParametersPreTransform the same way, and obeys the plain parameters. A service that adds rescoring to a filtered
# index shows what is out of stock. Remedy: the filter belongs into the parameters of the index below,
# base_index_params and index_params.
#
# Software: faiss-cpu 1.15.1.
# Seen, 0 to 9 allowed: 8 bits alone [0, 6, 7, 9, 8]; refined, without a filter and with sel both times [500, 564, 0,
# 548, 629], with sel below [0, 6, 7, 9, 8]; rotated likewise.
# Source: measured, 2026-11-30; facebookresearch/faiss issues 5584 (IndexShardsIVF drops sel) and 5504 (HNSW without a
# bounded queue did) are others of the kind.
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

vectors = numpy.random.default_rng(0).standard_normal((1000, 32)).astype(numpy.float32)
faiss.normalize_L2(vectors)
query = vectors[500:501]
allowed = faiss.IDSelectorRange(0, 10)  # the products 0 to 9


def search(index, parameters):
    """Return the five products that are found, or that the parameters are refused."""
    try:
        return index.search(query, 5, params=parameters)[1][0].tolist()
    except RuntimeError:
        return "refused"


base = faiss.index_factory(32, "SQ8", faiss.METRIC_INNER_PRODUCT)
base.train(vectors)
base.add(vectors)
refined = faiss.IndexRefineFlat(base, faiss.swig_ptr(vectors))
rotated = faiss.index_factory(32, "RR,Flat", faiss.METRIC_INNER_PRODUCT)
rotated.train(vectors)
rotated.add(vectors)

plain = faiss.SearchParameters(sel=allowed)
seen = {
    "8 bits alone, sel": search(base, plain),
    "refined, no filter": search(refined, faiss.IndexRefineSearchParameters(k_factor=4)),
    "refined, a plain SearchParameters with sel": search(refined, plain),
    "refined, sel": search(refined, faiss.IndexRefineSearchParameters(k_factor=4, sel=allowed)),
    "refined, sel below": search(refined, faiss.IndexRefineSearchParameters(k_factor=4, base_index_params=plain)),
    "rotated, no filter": search(rotated, faiss.SearchParametersPreTransform()),
    "rotated, sel": search(rotated, faiss.SearchParametersPreTransform(sel=allowed)),
    "rotated, sel below": search(rotated, faiss.SearchParametersPreTransform(index_params=plain)),
}
print("five products for a query, of which only 0 to 9 are allowed")
for name, found in seen.items():
    print(f"  {name}: {found}")

alone, unfiltered, refused, given, below, *turned = seen.values()
as_seen = (
    max(alone) < 10
    and refused == "refused"
    and given == unfiltered
    and max(given) >= 10
    and max(below) < 10
    and turned[1] == turned[0]
    and max(turned[1]) >= 10
    and max(turned[2]) < 10
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
