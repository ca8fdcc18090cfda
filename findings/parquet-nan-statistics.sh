#!/usr/bin/env bash
# Parquet: whether DuckDB and pyarrow find a price of NaN depends on the products that share its row group.
#
# What surprises: NaN stands for a missing price, as NumPy and many exports have it, and a filter looks at each
# product's own price. But the smallest and largest price of a row group, which are noted without NaN, answer first. A
# search for NaN itself, the one that is to clean a catalogue, skips groups that have a number too: DuckDB's isnan finds
# none in one file and all in another of the same rows, and so does pyarrow's is_nan where the numbers of a group are
# equal. For DuckDB NaN is above all numbers, yet "price > 100" lacks it where the rest of the group is cheaper, and
# "price < 1000" has it where all other prices of the file pass. pyarrow's not(price >= 100) loses it where the rest is
# dearer. Writing the file again, sorted or with other row groups, changes the answers. polars reads the same files
# rightly. Remedy: null instead of NaN, before writing; DuckDB has read_parquet(…, can_have_nan=true), off unless asked
# for.
#
# Software: duckdb 2.0.1, pyarrow 26.0.1, polars 2.1.0.
# Seen, cup 10, jug NaN, pot 300, urn NaN, in row groups of 4, of 2 and of 1: duckdb, isnan none, none, both; > 100 jug
# pot urn, pot urn, jug pot urn; < 1000 all four, all four, cup pot. pyarrow, is_nan both, none, both; not >= 100 cup
# jug urn, cup jug, cup jug urn. polars, and duckdb with can_have_nan, the same of all three files.
# Source: duckdb/duckdb issue 25521 and pull request 17883 (the option, and why it is off), apache/arrow issue 34162
# (files of NaN alone); the answers by row group measured, 2026-11-30.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0 || exit 2

"$work/venv/bin/python" - "$work" <<'END'
import sys

import duckdb
import polars
import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet

nan = float("nan")
products = pyarrow.table({"name": ["cup", "jug", "pot", "urn"], "price": [10.0, nan, 300.0, nan]})
paths = [f"{sys.argv[1]}/{size}.parquet" for size in (4, 2, 1)]
for path, size in zip(paths, (4, 2, 1), strict=True):
    pyarrow.parquet.write_table(products, path, row_group_size=size)


def by_duckdb(condition, option=""):
    asked = [f"select name from read_parquet('{path}'{option}) where {condition} order by name" for path in paths]
    return [" ".join(row[0] for row in duckdb.sql(each).fetchall()) or "none" for each in asked]


def by_pyarrow(condition):
    files = (pyarrow.dataset.dataset(path) for path in paths)
    return [" ".join(file.to_table(filter=condition)["name"].to_pylist()) or "none" for file in files]


def by_polars(condition):
    frames = (polars.scan_parquet(path).filter(condition).collect() for path in paths)
    return [" ".join(frame["name"].to_list()) or "none" for frame in frames]


price, column = pyarrow.compute.field("price"), polars.col("price")
may = ", can_have_nan=true"
seen = {
    "duckdb, isnan(price)": by_duckdb("isnan(price)"),
    "duckdb, price > 100": by_duckdb("price > 100"),
    "duckdb, price < 1000": by_duckdb("price < 1000"),
    "pyarrow, is_nan(price)": by_pyarrow(pyarrow.compute.is_nan(price)),
    "pyarrow, not(price >= 100)": by_pyarrow(~(price >= 100)),
}
steady = {
    "duckdb with can_have_nan, isnan(price)": by_duckdb("isnan(price)", may),
    "duckdb with can_have_nan, price > 100": by_duckdb("price > 100", may),
    "duckdb with can_have_nan, price < 1000": by_duckdb("price < 1000", may),
    "polars, is_nan": by_polars(column.is_nan()),
    "polars, price > 100": by_polars(column > 100),
    "polars, price < 1000": by_polars(column < 1000),
}
print("cup 10, jug NaN, pot 300, urn NaN: what passes, from files of row groups of 4, of 2, of 1")
for name, answers in (seen | steady).items():
    print(f"  {name}: {'; '.join(answers)}")

as_seen = all(len(set(answers)) == 1 for answers in steady.values()) and list(seen.values()) == [
    ["none", "none", "jug urn"],
    ["jug pot urn", "pot urn", "jug pot urn"],
    ["cup jug pot urn", "cup jug pot urn", "cup pot"],
    ["jug urn", "none", "jug urn"],
    ["cup jug urn", "cup jug", "cup jug urn"],
]
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
