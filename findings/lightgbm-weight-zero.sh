#!/usr/bin/env bash
# LightGBM's lambdarank: a row of weight 0 is not left out, all others of its query still compete with it.
#
# What surprises: products that nobody judged stand among a query's candidates, so one labels them 0, gives them the
# weight 0 and takes them for absent, as they are for a classifier. In lambdarank they stay opponents. Pairs are made of
# all rows of a query, and only then is each row's own part multiplied by its own weight: a relevant product is pushed
# up for every unjudged one, and what would be pushed down for it is dropped. All scores rise together, which orders
# nothing, and the difference between relevant and irrelevant products, the only thing that was judged, becomes a small
# part of what the trees fit: they split more by features that say nothing. With two unjudged candidates for each judged
# one that costs next to nothing, with nine it costs NDCG. Nothing warns. Remedy: leave the rows out of the data and
# count them out of the sizes of the groups.
#
# Software: lightgbm 4.7.0; scikit-learn 1.9.1 judges.
# Seen, 200 queries of 10 judged products, the mean of three draws: mean score, the deciding feature's share of the gain
# and NDCG@10, unjudged products left out and with weight 0: 20 unjudged -0.50, 46%, .785 and +7.81, 35%, .783; 90
# unjudged -0.48, 47%, .784 and +10.47, 26%, .768. The objective binary, 90: -0.84, 58%, .786 and -0.83, 57%, .781.
# Source: src/objective/rank_objective.hpp of lightgbm-org/LightGBM has where weights come in; in its issue 2019 they
# are said to be summed by query; what a weight of 0 does measured, 2026-11-30.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    lightgbm==4.7.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import lightgbm
import numpy
from sklearn.metrics import ndcg_score

QUERIES, JUDGED = 200, 10
SETTINGS = {
    "num_leaves": 8,
    "min_data_in_leaf": 20,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def draw(unjudged, seed):
    """Return features, of which the first decides what is relevant, labels, which rows are judged, and sizes."""
    random = numpy.random.default_rng(seed)
    size = JUDGED + unjudged
    judged = numpy.array([random.permutation(size) < JUDGED for _ in range(QUERIES)]).ravel()
    features = random.random((QUERIES * size, 8))
    relevant = judged & (features[:, 0] + random.standard_normal(QUERIES * size) / 2 > 0.75)
    return features, relevant.astype(int), judged, [size] * QUERIES


def fit(objective, features, relevant, sizes, weight=None):
    """Return the mean score and NDCG@10 on other queries, and the first feature's share of the gain."""
    group = sizes if objective == "lambdarank" else None
    data = lightgbm.Dataset(features, relevant, weight=weight, group=group)
    trees = lightgbm.train({**SETTINGS, "objective": objective}, data, num_boost_round=60)
    others, labels, _, _ = draw(0, seed=1000)
    scores = trees.predict(others, raw_score=True)
    some = labels.reshape(QUERIES, JUDGED).any(axis=1)
    quality = ndcg_score(labels.reshape(QUERIES, JUDGED)[some], scores.reshape(QUERIES, JUDGED)[some], k=10)
    gains = trees.feature_importance("gain")
    return scores.mean(), gains[0] / gains.sum(), quality


print("mean score, the deciding feature's share of the gain, NDCG@10: unjudged products left out; with weight 0")
seen = {}
for objective, unjudged in (("lambdarank", 20), ("lambdarank", 90), ("binary", 90)):
    found = []
    for seed in range(3):
        features, relevant, judged, sizes = draw(unjudged, seed)
        without = fit(objective, features[judged], relevant[judged], [JUDGED] * QUERIES)
        found.append((without, fit(objective, features, relevant, sizes, judged.astype(float))))
    without, weightless = numpy.mean(found, axis=0)
    seen[objective, unjudged] = without, weightless
    shown = ["{:+.2f}, {:.0%}, {:.3f}".format(*each) for each in (without, weightless)]
    print(f"  {objective}, {unjudged} unjudged for {JUDGED} judged: {shown[0]}; {shown[1]}")

few, many, binary = seen.values()
as_seen = (
    abs(many[0][0]) < 1
    and min(few[1][0], many[1][0]) > 5
    and few[1][1] < few[0][1]
    and many[1][1] < 0.75 * many[0][1]
    and many[1][2] < many[0][2] - 0.005
    and abs(binary[1][0] - binary[0][0]) < 0.1
    and abs(binary[1][1] - binary[0][1]) < 0.05
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
