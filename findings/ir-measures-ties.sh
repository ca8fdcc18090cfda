#!/usr/bin/env bash
# ir-measures: among equal scores RR and RR@10 rank the products in opposite orders, so that RR@10 can be above RR.
#
# What surprises: a cutoff can only take away, so RR@10 is at most RR, and one expects two measures of one call to look
# at one ranking. They do not: RR, nDCG, P and AP come from trec_eval, where of equal scores the product whose name is
# last in the alphabet comes first; RR@10 comes from other code, where the first name does. The order in which the
# run was given counts in neither. With equal scores, which BM25 over short titles and rounded scores have many of, the
# same run has RR 0.33 beside RR@10 1, and both change when products are renamed. And trec_eval holds scores in float32:
# 1000000.02 and 1000000.01, say a boost and a score added up, are equal there and different for RR@10. Remedy: give
# the negative place in the ranking as the score.
# Trident gives places.
#
# Software: ir-measures 0.4.3, pytrec-eval-terrier 0.5.11.
# Seen, products a, b, c with equal scores, one of them relevant: a: RR .333, RR@10 1, P@1 0, nDCG@10 .5; b: .5, .5, 0,
# .631; c: 1, .333, 1, 1; the same with the run given backwards. a relevant at 1000000.02, b at 1000000.01: RR .5,
# RR@10 1, P@1 0; by places 1, 1, 1.
# Source: terrierteam/ir_measures issue 18 (that providers differ in ties), usnistgov/trec_eval issue 22 (by name);
# RR@10 above RR, and the precision, measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    ir-measures==0.4.3 pytrec-eval-terrier==0.5.11 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import ir_measures
from ir_measures import RR, P, nDCG

MEASURES = (RR, RR @ 10, P @ 1, nDCG @ 10)


def values(relevant, run):
    """Return each measure of one query with one relevant product."""
    got = ir_measures.calc_aggregate(MEASURES, {"query": {relevant: 1}}, {"query": run})
    return [round(got[measure], 3) for measure in MEASURES]


print("one relevant product:", ", ".join(map(str, MEASURES)))
seen = {}
for relevant in "abc":
    seen[relevant] = values(relevant, dict.fromkeys("abc", 1.0))
    backwards = values(relevant, dict.fromkeys("cba", 1.0))
    print(f"  a, b, c with equal scores, {relevant} relevant: {seen[relevant]}, the run given backwards {backwards}")
    seen[f"{relevant} backwards"] = backwards
seen["near"] = values("a", {"a": 1_000_000.02, "b": 1_000_000.01})
print(f"  a 1000000.02, b 1000000.01, a relevant: {seen['near']}")
seen["places"] = values("a", {"a": -1.0, "b": -2.0})
print(f"  the same by places, -1 and -2: {seen['places']}")

as_seen = (
    seen["a"] == seen["a backwards"] == [0.333, 1, 0, 0.5]
    and seen["b"] == seen["b backwards"] == [0.5, 0.5, 0, 0.631]
    and seen["c"] == seen["c backwards"] == [1, 0.333, 1, 1]
    and seen["near"][:3] == [0.5, 1, 0]
    and seen["places"] == [1, 1, 1, 1]
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
