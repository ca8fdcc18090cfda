#!/usr/bin/env bash
# bm25s and rank-bm25: BM25+ ranks as without its plus, and gives products a score that have no word of the query.
#
# What surprises: the plus of BM25+ is delta, a bonus for each word of the query that stands in a text at all, so that a
# long description with two of the words is not beaten by a short one with one of them. One chooses "bm25+", or a larger
# delta, for a catalogue with long descriptions, and expects another order. But both libraries add the bonus for words
# that are not there too: every product of the catalogue gets the same sum, and the order is that of delta 0 to the last
# place, for any delta. What does change is that a product without any word of the query has a score above 0, so that
# the usual cut at score > 0 lets the whole catalogue through. Remedy: none in delta; a smaller b spares long texts, and
# the cut is the score of a text that has none of the words.
# Trident's index is made with method "lucene".
#
# Software: bm25s 0.3.16, rank-bm25 0.2.2.
# Seen, "steel kettle" among a short kettle, a long steel kettle and 18 others, delta 0, 1 and 5: both libraries the
# short kettle first each time, and a lamp at 0, then above 0; by the formula of Lv and Zhai, with the bonus for words
# that are there, the steel kettle first from delta 1, and the lamp at 0. 300 random texts, 40 queries: all rise by one
# amount.
# Source: Lv and Zhai, "Lower-bounding term frequency normalization" (2011), where the sum is over the words that query
# and text share; piskvorky/gensim pull request 3304 (a write-up that the libraries follow gives absent words weight in
# BM25L); that the order does not move measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    bm25s==0.3.16 rank-bm25==0.2.2 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import math
import sys

import bm25s
import numpy
import rank_bm25

K1, B, DELTAS = 1.5, 0.75, (0, 1, 5)


def by_bm25s(texts, delta):
    index = bm25s.BM25(k1=K1, b=B, delta=delta, method="bm25+")
    index.index(texts, show_progress=False)
    return index.get_scores


def by_rank_bm25(texts, delta):
    return rank_bm25.BM25Plus(texts, k1=K1, b=B, delta=delta).get_scores


def by_paper(texts, delta):
    mean_length = sum(map(len, texts)) / len(texts)

    def score(query, text):
        total = 0.0
        for word in set(query) & set(text):
            times, held_by = text.count(word), sum(word in other for other in texts)
            flattened = times * (K1 + 1) / (K1 * (1 - B + B * len(text) / mean_length) + times)
            total += math.log((len(texts) + 1) / held_by) * (flattened + delta)
        return total

    return lambda query: numpy.array([score(query, text) for text in texts])


def order(scores):
    return numpy.argsort(-numpy.round(scores, 3), kind="stable").tolist()


WAYS = {"bm25s": by_bm25s, "rank-bm25": by_rank_bm25, "the paper's formula": by_paper}
others = [["pan"], ["steel", "pan"], *([f"thing{number}", "for", "the", "house"] for number in range(15))]
catalogue = {
    "short kettle": ["kettle"],
    "long steel kettle": ["steel", "kettle", *(f"detail{number}" for number in range(20))],
    "lamp": ["lamp"],
}
texts = [*catalogue.values(), *others]

best, lamp = {}, {}
for name, scores_of in WAYS.items():
    for delta in DELTAS:
        scores = scores_of(texts, delta)(["steel", "kettle"])
        best[name, delta] = list(catalogue)[order(scores)[0]]
        lamp[name, delta] = round(float(scores[2]), 2)
    told = "; ".join(f"delta {delta} {best[name, delta]}, lamp {lamp[name, delta]:g}" for delta in DELTAS)
    print(f"steel kettle, the best and the score of a lamp, {name}: {told}")

random = numpy.random.default_rng(0)
words = random.zipf(1.3, 300 * 80) % 400
lengths = random.integers(3, 80, 300)
large = [[f"w{word}" for word in words[row * 80 : row * 80 + length]] for row, length in enumerate(lengths)]
known = sorted({word for text in large for word in text})
queries = [[str(word) for word in random.choice(known, 3, replace=False)] for _ in range(40)]
raised = {}
for name, scores_of in WAYS.items():
    without, with_plus = (scores_of(large, delta) for delta in (0, 1))
    raised[name] = sum(numpy.ptp(with_plus(query) - without(query)) < 0.001 for query in queries)
    print(f"300 random texts, queries of 40 where delta 1 adds the same to all of them, {name}: {raised[name]}")

as_seen = all(
    {best[name, delta] for delta in DELTAS} == {"short kettle"}
    and lamp[name, 0] == 0 < lamp[name, 1] < lamp[name, 5]
    and raised[name] == len(queries)
    for name in ("bm25s", "rank-bm25")
) and (
    [best["the paper's formula", delta] for delta in DELTAS] == ["short kettle", *["long steel kettle"] * 2]
    and {lamp["the paper's formula", delta] for delta in DELTAS} == {0}
    and raised["the paper's formula"] == 0
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
