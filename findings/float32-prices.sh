#!/usr/bin/env bash
# DuckDB and polars: whether a float32 price of 39.90 is "at most 39.90" depends on how the question is written.
#
# What surprises: that 39.90 has no exact float is known, and that float32 and float64 round it differently. But one
# expects a comparison to do one thing. In DuckDB a number in the text of the query is a decimal, which becomes a
# float32 and finds the product; the same number as a parameter is a float64, the column is widened to it, and the
# product is gone: price <= 39.90 finds it, price <= ? with 39.90 does not. So the query that was tried by hand works,
# and the service, which rightly never puts numbers into the text, loses whatever costs exactly the limit, which is what
# limits are chosen for. polars finds it by <= 39.90 and ==, and not by is_in([39.90]) or with a NumPy number. Remedy:
# prices as decimals or whole cents, or a float64 column; else cast the parameter.
#
# Software: duckdb 2.0.1, polars 2.1.0.
# Seen, 39.90 in a float32 column: duckdb <=, =, between and in: found with the number in the text, not as a parameter,
# found as ?::float. polars <=, == and is_between found; is_in, a NumPy number and pl.lit of Float64 not.
# Source: duckdb/duckdb-python issue 229 (a parameter, by =); the rest measured, 2026-11-30.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    duckdb==2.0.1 polars==2.1.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import duckdb
import numpy
import polars

database = duckdb.connect()
database.execute("create table lamps (price float)")
database.execute("insert into lamps values (39.90)")


def asked(condition, *values):
    """Return whether the lamp of 39.90 passes a condition."""
    return bool(database.execute(f"select price from lamps where {condition}", list(values)).fetchall())


conditions = ("price <= {}", "price = {}", "price between 0 and {}", "price in ({})")
in_text = [asked(each.format("39.90")) for each in conditions]
parameter = [asked(each.format("?"), 39.90) for each in conditions]
cast = [asked(each.format("?::float"), 39.90) for each in conditions]
print(f"duckdb, <=, =, between, in: in the text {in_text}, as a parameter {parameter}, cast {cast}")

lamps = polars.DataFrame({"price": [39.90]}, schema={"price": polars.Float32})
price = polars.col("price")
by_polars = {
    "<= 39.90": price <= 39.90,
    "== 39.90": price == 39.90,
    "is_between": price.is_between(0, 39.90),
    "is_in": price.is_in([39.90]),
    "<= numpy.float64": price <= numpy.float64(39.90),
    "<= lit of Float64": price <= polars.lit(39.90, polars.Float64),
}
found = {name: lamps.filter(condition).height == 1 for name, condition in by_polars.items()}
print("polars, " + ", ".join(f"{name}: {each}" for name, each in found.items()))

as_seen = all(in_text) and not any(parameter) and all(cast) and list(found.values()) == [True] * 3 + [False] * 3
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
