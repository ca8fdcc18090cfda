#!/usr/bin/env bash
# datasets: encoding integer grades as classes renumbers them, and of ten grades the best becomes the third.
#
# What surprises: a split that keeps the share of each grade (stratify_by_column) wants a column of classes, and
# class_encode_column makes one; of labels that are whole numbers already one expects them to stay. They are turned into
# text, put in the order of text, and numbered from 0: of 0 to 10, grade 10 becomes 2, between 1 and 2; of 1 to 5, every
# grade is one lower; of -1, 0, 1 it is 0, 1, 2. The column still holds small integers that look like grades, and NDCG,
# lambdarank or a regression on it learn that the best products are bad ones. Remedy: ClassLabel(names=…) with the
# grades in their order by cast_column, or a copy of the column for the split.
# Trident splits by queries, without datasets' classes.
#
# Software: datasets 5.2.0.
# Seen, what 0 to 10 become: 0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2; 1 to 5: 0 to 4; -1, 0, 1: 0, 1, 2. With ClassLabel and
# cast_column 0 to 10 stay.
# Source: huggingface/datasets issue 3762 (names are sorted); that whole numbers are sorted as text measured,
# 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    datasets==5.2.0 numpy==2.4.6 || exit 2

HF_HUB_OFFLINE=1 HF_HOME="$work/home" "$work/venv/bin/python" - <<'END'
import sys

import datasets

datasets.disable_progress_bars()


def encoded(grades):
    return list(datasets.Dataset.from_dict({"grade": grades}).class_encode_column("grade")["grade"])


seen = {}
for grades in (list(range(11)), [1, 2, 3, 4, 5], [-1, 0, 1]):
    seen[tuple(grades)] = encoded(grades)
    print(f"grades {grades}: encoded {seen[tuple(grades)]}")
cast = datasets.Dataset.from_dict({"grade": list(range(11))})
cast = list(cast.cast_column("grade", datasets.ClassLabel(names=[str(grade) for grade in range(11)]))["grade"])
print(f"grades 0 to 10, cast to a ClassLabel in their order: {cast}")

as_seen = cast == list(range(11)) and list(seen.values()) == [
    [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 2],
    [0, 1, 2, 3, 4],
    [0, 1, 2],
]
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
