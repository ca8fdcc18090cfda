#!/usr/bin/env bash
# pyarrow, datasets, polars: a field that the first products lack is dropped from all products, without a word.
#
# What surprises: of a list of products as dictionaries one expects a column for every key, as pandas makes it, or an
# error for a key that has no place. pyarrow's Table.from_pylist and Dataset.from_list of datasets look at the first
# dictionary alone, polars at the first hundred (from_dicts, and read_ndjson of a file), and drop what comes later. A
# catalogue whose discounts, brands or second images begin further down loses them, and a filter on them is refused or
# finds nothing; which fields there are depends on the order of the products. pyarrow.json and DuckDB read the same file
# with all its fields. (DuckDB looks at 20,480 rows.) Remedy: a schema; else the union of the keys, and
# infer_schema_length=None.
# Trident makes a table of dictionaries in one place, whose rows all have the same keys.
#
# Software: pyarrow 26.0.1, datasets 5.2.0, polars 2.1.0; pandas 3.1.1, duckdb 2.0.1.
# Seen, 150 products with a title, and a brand from the second or the 121st on: has the table a brand? pyarrow no, no;
# datasets no, no; polars yes, no; polars from a file yes, no; pandas, pyarrow.json and duckdb yes, yes.
# Source: apache/arrow issue 40124 and huggingface/datasets pull request 5772 (the first row), the others measured,
# 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    pyarrow==26.0.1 datasets==5.2.0 polars==2.1.0 pandas==3.1.1 duckdb==2.0.1 numpy==2.4.6 || exit 2

HF_HUB_OFFLINE=1 HF_HOME="$work/home" "$work/venv/bin/python" - "$work" <<'END'
import json
import sys

import datasets
import duckdb
import pandas
import polars
import pyarrow
import pyarrow.json

WAYS = {
    "pyarrow, Table.from_pylist": lambda rows, _: pyarrow.Table.from_pylist(rows).column_names,
    "datasets, Dataset.from_list": lambda rows, _: datasets.Dataset.from_list(rows).column_names,
    "polars, from_dicts": lambda rows, _: polars.from_dicts(rows).columns,
    "polars, read_ndjson": lambda _, path: polars.read_ndjson(path).columns,
    "pandas, DataFrame": lambda rows, _: list(pandas.DataFrame(rows).columns),
    "pyarrow.json": lambda _, path: pyarrow.json.read_json(path).column_names,
    "duckdb, read_json": lambda _, path: duckdb.read_json(path).columns,
}


def products(first):
    """Return 150 products, of which those from ``first`` on have a brand."""
    return [{"title": f"cup {row}"} | ({"brand": "ada"} if row >= first else {}) for row in range(150)]


seen = {name: [] for name in WAYS}
for first in (1, 120):
    rows, path = products(first), f"{sys.argv[1]}/{first}.jsonl"
    with open(path, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    for name, columns in WAYS.items():
        seen[name].append("yes" if "brand" in columns(rows, path) else "no")
print("has the table a brand, where it begins with the second product, with the 121st")
for name, found in seen.items():
    print(f"  {name}: {', '.join(found)}")

as_seen = list(seen.values()) == [["no", "no"]] * 2 + [["yes", "no"]] * 2 + [["yes", "yes"]] * 3
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
