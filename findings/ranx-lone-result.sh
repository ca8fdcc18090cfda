#!/usr/bin/env bash
# ranx: in a fused run the only product that one search found counts as if that search had found nothing.
#
# What surprises: scores of two searches are brought to 0 to 1 before they are added up, min-max, so that the best of
# each has 1. But (score - min) / (max - min) is 0 for the last of each list, and a list of one has its best as its
# last; ranx makes the division by 0 a 0. A model number, which BM25 finds in one product alone and is surest of, adds
# nothing to that product, and so do several products with equal scores; a second, far worse match gives it 1. Where
# both searches have products of their own, it stands last, level with the vectors' worst. The same in all methods that
# add up, and with the norms "sum" and "zmuv". So hybrid search loses exactly the queries for which one adds BM25, and
# its figures by ranx say so. Remedy: norm="max" or "rank", or method="rrf".
#
# Software: ranx 0.3.21, numba 0.68.1.
# Seen, vectors a .9, b .8, c .7, d .6, added up after min-max: beside BM25 with d 14 alone a 1, b .667, c .333, d 0;
# with d 14 and c 14 the same; with d 14 and c 1 d 1 beside a 1; with e 14 alone e 0, as d. Norms sum and zmuv: d last
# where it is alone. Norms max and rank, and rrf: d first in all of them.
# Source: the documentation of ranx's norms has the formula; what it does to a lone result measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    ranx==0.3.21 numba==0.68.1 numpy==2.4.6 pandas==3.1.1 || exit 2

"$work/venv/bin/python" -W ignore - <<'END'
import sys

from ranx import Run, fuse

VECTORS = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
LEXICAL = {
    "d alone": {"d": 14.0},
    "d and c, equal": {"d": 14.0, "c": 14.0},
    "d and c far below": {"d": 14.0, "c": 1.0},
    "e alone, not among the vectors": {"e": 14.0},
}


def fused(lexical, norm, method="sum"):
    """Return the products of one query with their scores, best first."""
    runs = [Run({"query": VECTORS}), Run({"query": lexical})]
    scores = fuse(runs, norm=norm, method=method).to_dict()["query"]
    ordered = sorted(scores.items(), key=lambda each: (-each[1], each[0]))
    return {name: round(float(score), 3) for name, score in ordered}


min_max = {name: fused(lexical, "min-max") for name, lexical in LEXICAL.items()}
for name, scores in min_max.items():
    print(f"min-max, BM25 found {name}: {scores}")
alone = LEXICAL["d alone"]
others = {norm: fused(alone, norm) for norm in ("sum", "zmuv", "max", "rank")} | {"rrf": fused(alone, None, "rrf")}
for name, scores in others.items():
    print(f"{name}, BM25 found d alone: {scores}")

nothing_of_bm25 = {"a": 1, "b": 0.667, "c": 0.333, "d": 0}
as_seen = (
    list(min_max.values())
    == [
        nothing_of_bm25,
        nothing_of_bm25,
        {"a": 1, "d": 1, "b": 0.667, "c": 0.333},
        nothing_of_bm25 | {"e": 0},
    ]
    and all(list(others[name])[-1] == "d" for name in ("sum", "zmuv"))
    and all(next(iter(others[name])) == "d" for name in ("max", "rank", "rrf"))
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
