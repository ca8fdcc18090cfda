#!/usr/bin/env bash
# DuckDB and pandas: the best offer of a product is put together from two offers where the best one lacks something.
#
# What surprises: arg_max(seller, score) and arg_max(image, score) beside each other in one query read as "seller and
# image of the best row". Each of them looks for a best row of its own, and passes over rows in which its own column is
# null: where the best offer has no image, the answer has its seller and its price, and the image of the next one.
# pandas does the same: groupby().first() is, for each column, the first value that is not missing, and no row of the
# table. Nothing is null in the answer, so nothing hints at it. polars, and SQLite with max() beside bare columns, give
# the row. Remedy: arg_max of the row (the table's name, or a struct), which is one row, or distinct on; in pandas head(1).
#
# Software: duckdb 2.0.1, pandas 3.1.1, polars 2.1.0, SQLite of Python.
# Seen, offers of one product: ada, 9.9, no image, and bob, 9.0, bob.jpg. The best one: duckdb by columns ada, bob.jpg;
# by row ada, null; pandas first() ada, bob.jpg, head(1) ada, null; polars and SQLite ada, null.
# Source: the documentation of both says that null is ignored; that columns of one query come from different rows
# measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    duckdb==2.0.1 pandas==3.1.1 polars==2.1.0 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sqlite3
import sys

import duckdb
import pandas
import polars

COLUMNS = ("product_id", "seller", "score", "image")
OFFERS = [("P1", "ada", 9.9, None), ("P1", "bob", 9.0, "bob.jpg")]
database, lite = duckdb.connect(), sqlite3.connect(":memory:")
for each in (database, lite):
    each.execute("create table offers (product_id varchar, seller varchar, score double, image varchar)")
    each.executemany("insert into offers values (?, ?, ?, ?)", OFFERS)
rows = {name: [offer[place] for offer in OFFERS] for place, name in enumerate(COLUMNS)}
frame, columns = pandas.DataFrame(rows), polars.DataFrame(rows)


def of_pandas(best):
    return tuple(None if pandas.isna(value) else value for value in best[["seller", "image"]].iloc[0])


by_score = frame.sort_values("score", ascending=False)
by_column = "select arg_max(seller, score), arg_max(image, score) from offers group by product_id"
by_row = "select best.seller, best.image from (select arg_max(offers, score) as best from offers group by product_id)"
bare = "select seller, image from (select seller, image, max(score) from offers group by product_id)"
best = columns.sort("score", descending=True).group_by("product_id").first()
seen = {
    "duckdb, arg_max of each column": database.execute(by_column).fetchone(),
    "duckdb, arg_max of the row": database.execute(by_row).fetchone(),
    "pandas, groupby().first()": of_pandas(by_score.groupby("product_id").first()),
    "pandas, groupby().head(1)": of_pandas(by_score.groupby("product_id").head(1)),
    "polars, group_by().first()": best.select("seller", "image").row(0),
    "SQLite, max() beside columns": lite.execute(bare).fetchone(),
}
print("seller and image of the best offer; ada's has no image")
for name, found in seen.items():
    print(f"  {name}: {found}")

mixed, whole = ("ada", "bob.jpg"), ("ada", None)
as_seen = list(seen.values()) == [mixed, whole, mixed, whole, whole, whole]
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
