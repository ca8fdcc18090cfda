#!/usr/bin/env bash
# pandas: strings of a JSON file become numbers, and the other products of a piece decide which ones do.
#
# What surprises: JSON says itself what is a string, so nothing is to be guessed, as it is in CSV. read_json looks into
# strings nevertheless: "00123" becomes 123, a barcode of 20 digits a float that another barcode shares, and the title
# "1984" a number. Only a column whose strings are all digits is changed. So reading by pieces (chunksize), or one file
# for each day, gives the same product the id 123 here and "00123" there: joins, and counts of different products, go
# wrong by what else was in the piece. What pandas has just written with to_json comes back changed too. polars, DuckDB
# and pyarrow leave strings alone. Remedy: dtype=False, and convert_dates=False.
# Trident reads JSON Lines without pandas, and a string stays one.
#
# Software: pandas 3.1.1; polars 2.1.0, duckdb 2.0.1, pyarrow 26.0.1.
# Seen, ids "00123", "00456", "A1", "00123": pandas whole as they are, in pieces of two 123, 456, "A1", "00123"; titles
# "1984" and "2001" numbers; two barcodes that differ in the last of 20 digits one float; with dtype=False, and by
# polars, duckdb and pyarrow, as they are.
# Source: pandas-dev/pandas issues 42471 and 20608 (strings become numbers); the pieces measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - "$work" <<'END'
import json
import sys

import duckdb
import pandas
import polars
import pyarrow.json

IDS = ["00123", "00456", "A1", "00123"]
products = [{"product_id": each, "barcode": f"1234567890123456789{place}"} for place, each in enumerate(IDS)]
path, films = f"{sys.argv[1]}/products.jsonl", f"{sys.argv[1]}/films.jsonl"
with open(path, "w") as file:
    file.writelines(json.dumps(each) + "\n" for each in products)
with open(films, "w") as file:
    file.writelines(json.dumps({"title": title}) + "\n" for title in ("1984", "2001"))

whole = pandas.read_json(path, lines=True)
pieces = pandas.read_json(path, lines=True, chunksize=2)
ids = {
    "pandas": whole["product_id"].tolist(),
    "pandas, pieces of two": [each for piece in pieces for each in piece["product_id"].tolist()],
    "pandas, dtype=False": pandas.read_json(path, lines=True, dtype=False)["product_id"].tolist(),
    "polars": polars.read_ndjson(path)["product_id"].to_list(),
    "duckdb": [row[0] for row in duckdb.sql(f"select product_id from read_json('{path}')").fetchall()],
    "pyarrow": pyarrow.json.read_json(path)["product_id"].to_pylist(),
}
for name, found in ids.items():
    print(f"  {name}: {found}")
titles = pandas.read_json(films, lines=True)["title"].tolist()
barcodes = {name: frame["barcode"].nunique() for name, frame in
            (("pandas", whole), ("pandas, dtype=False", pandas.read_json(path, lines=True, dtype=False)))}
print(f'titles "1984" and "2001" by pandas: {titles}')
print(f"different ones of 4 barcodes: {barcodes}")

as_seen = (
    ids["pandas, pieces of two"] == [123, 456, "A1", "00123"]
    and all(found == IDS for name, found in ids.items() if name != "pandas, pieces of two")
    and titles == [1984, 2001]
    and barcodes == {"pandas": 1, "pandas, dtype=False": 4}
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
