#!/usr/bin/env bash
# LightGBM's NDCG: equal scores are ranked in the order of the file, and queries without a relevant product count as 1.
#
# What surprises: a model that learned nothing gives all candidates one score, and its NDCG@10 is a perfect 1 where the
# file lists each query's products best first, as exports of judgements do, and 0 where it lists them worst first. Few
# leaves are enough: early trees tie most products, the file breaks the ties, and the figure falls as the trees learn to
# tell products apart, so that early stopping keeps the first tree. And a query without any relevant product, of which
# logs are full, adds a 1, whatever the model does: 19 of them beside one that is ranked as badly as can be make 0.95.
# Others share the gain among ties, or break them by the product's id, and count such a query as 0 or not at all.
# Remedy: shuffle the rows within each query, drop queries without a relevant product, or judge by another library.
#
# Software: lightgbm 4.7.0, beside scikit-learn 1.9.1.
# Seen, NDCG@10: all scores equal 1.000 best first, 0.000 worst first (scikit-learn .279); 19 of 20 queries without a
# relevant product .950 (0). Early stopping on rows as they came: the first tree .651, 34 trees kept, by scikit-learn
# .726; best first: .809, 1 tree, .630.
# Source: lightgbm-org/LightGBM issues 2091 (the order of rows) and 6823 (a comparison with scikit-learn); early
# stopping and queries without a relevant product measured, 2026-11-30.
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

QUERIES, PRODUCTS = 200, 20
SETTINGS = {
    "objective": "lambdarank",
    "metric": "ndcg",
    "eval_at": [10],
    "num_leaves": 4,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
random = numpy.random.default_rng(0)


def train(features, relevant, *, valid, rounds):
    """Return the trees kept by early stopping, and NDCG@10 by tree of the queries from ``valid`` on."""
    rows = valid * PRODUCTS
    data = lightgbm.Dataset(features[:rows], relevant[:rows], group=[PRODUCTS] * valid)
    rest = len(relevant) // PRODUCTS - valid
    checked = data.create_valid(features[rows:], relevant[rows:], group=[PRODUCTS] * rest)
    curve = {}
    callbacks = [lightgbm.early_stopping(20, verbose=False), lightgbm.record_evaluation(curve)]
    trees = lightgbm.train(SETTINGS, data, rounds, valid_sets=[checked], callbacks=callbacks)
    return trees, curve["valid_0"]["ndcg@10"]


def others(relevant, scores):
    """Return scikit-learn's NDCG@10, over all queries."""
    return ndcg_score(relevant.reshape(-1, PRODUCTS), scores.reshape(-1, PRODUCTS), k=10)


# 1: features that say nothing at all.
nothing = numpy.zeros((QUERIES * PRODUCTS, 1))
two = numpy.tile(numpy.arange(PRODUCTS) < 2, QUERIES).astype(int)
best, worst = (train(nothing, rows, valid=100, rounds=1)[1][0] for rows in (two, two[::-1]))
fair = others(two, nothing[:, 0])
print(f"all scores equal: {best:.3f} best first, {worst:.3f} worst first; scikit-learn {fair:.3f}")

# 2: queries without a relevant product.
lone = numpy.zeros(40 * PRODUCTS, dtype=int)
lone[PRODUCTS - 1] = lone[21 * PRODUCTS - 1] = 1
empty = train(numpy.zeros((len(lone), 1)), lone, valid=20, rounds=1)[1][0]
last = others(lone[20 * PRODUCTS :], -numpy.tile(numpy.arange(PRODUCTS, dtype=float), 20))
print(f"19 of 20 queries without a relevant product, the other's last: {empty:.3f}; scikit-learn {last:.3f}")

# 3: early stopping, with a feature that says something.
weak = random.integers(0, 3, QUERIES * PRODUCTS).astype(float)
strong = random.standard_normal((QUERIES * PRODUCTS, 4))
chance = 1 / (1 + numpy.exp(2.5 - weak - strong[:, 0]))
relevant = (random.random(QUERIES * PRODUCTS) < chance).astype(int)
features = numpy.column_stack([weak, strong])
of_query = numpy.repeat(numpy.arange(QUERIES), PRODUCTS)
kept = {}
orders = {"as they came": numpy.arange(len(relevant)), "best first": numpy.lexsort([-relevant, of_query])}
for name, order in orders.items():
    trees, curve = train(features[order], relevant[order], valid=100, rounds=300)
    rows = slice(100 * PRODUCTS, None)
    quality = others(relevant[order][rows], trees.predict(features[order][rows]))
    kept[name] = trees.best_iteration, curve[0], quality
    print(f"rows {name}: first tree {curve[0]:.3f}, {trees.best_iteration} trees kept; scikit-learn {quality:.3f}")

(plain, _, good), (sorted_, first, bad) = kept.values()
as_seen = (
    (best, worst) == (1, 0)
    and 0.1 < fair < 0.6
    and abs(empty - 0.95) < 1e-6
    and sorted_ < plain / 2
    and first > good > bad
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
