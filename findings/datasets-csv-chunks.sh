#!/usr/bin/env bash
# datasets: in a CSV file of text ids the leading zeros go from row 10,001 on, and "00123" is "123" there.
#
# What surprises: the column's type is decided once, so one expects a column of text to be text to its end, or an error.
# load_dataset reads the file in pieces of 10,000 rows and each piece is guessed anew: where all ids of a later piece
# are digits they become numbers, and are then turned back into the text that the first piece said, without their
# zeros. The column's type is text all along. So the judgements of the first 10,000 products join with the catalogue,
# and those of the rest are lost; a sample of the file is right. polars and DuckDB, which have one type for the whole
# file, keep these ids. Remedy: features=Features({"product_id": Value("string"), …}), which is given to each piece.
# Trident reads ids as text wherever they stand.
#
# Software: datasets 5.2.0, pandas 3.1.1, polars 2.1.0, duckdb 2.0.1.
# Seen, 10,000 ids like A00000 and then 00000 to 09998: datasets has "0" in row 10,001 and "123" in row 10,124,
# type text; with features, and by polars and duckdb, 00000 and 00123.
# Source: measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    datasets==5.2.0 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 numpy==2.4.6 || exit 2

HF_HUB_OFFLINE=1 HF_HOME="$work/home" "$work/venv/bin/python" - "$work" <<'END'
import sys
from pathlib import Path

import datasets
import duckdb
import polars

datasets.disable_progress_bars()
folder = Path(sys.argv[1])
ids = [f"A{number:05}" for number in range(10_000)] + [f"{number:05}" for number in range(9_999)]
path = str(folder / "judged.csv")
Path(path).write_text("product_id,title\n" + "".join(f"{each},cup\n" for each in ids))
places = (0, 10_000, 10_123)


def by_datasets(features=None):
    rows = datasets.load_dataset("csv", data_files=path, split="train", features=features)
    return [rows["product_id"][place] for place in places]


text = datasets.Features({"product_id": datasets.Value("string"), "title": datasets.Value("string")})
seen = {
    "datasets": by_datasets(),
    "datasets, with features": by_datasets(text),
    "polars": polars.read_csv(path)["product_id"].gather(places).to_list(),
    "duckdb": [duckdb.read_csv(path).fetchall()[place][0] for place in places],
}
print("ids A00000 to A09999, then 00000 to 09998: the first, the 10,001st and the 10,124th")
for name, ids in seen.items():
    print(f"  {name}: {ids}")

right = ["A00000", "00000", "00123"]
as_seen = list(seen.values()) == [["A00000", "0", "123"], right, right, right]
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
