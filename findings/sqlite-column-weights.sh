#!/usr/bin/env bash
# SQLite FTS5: a column's weight in bm25() multiplies no score, and a weight of 0 does not take the column out.
#
# What surprises: bm25(products, 10, 1) reads as "a match in the title counts ten times". The weight multiplies how
# often the word stands there, before BM25 flattens that, and the length is that of the whole row: beyond a few times
# more hardly counts, and a long description weighs the title down. A tea towel whose short description says kettle
# three times is above a steel kettle with a long one, at weight 1 and at weight 10. Nor is weight 0 "without the
# description": searched in the title alone, and with description 0, a longer title is above a shorter one, because its
# row has fewer words, and the order is the other way round in a table of titles. So the text of the description, which
# nobody searches, decides the order. Remedy: a table for each column, and their scores added up.
#
# Software: SQLite 3.54.1 of apsw 3.54.1.0.
# Seen, kettle, title and description weighted 1 and 1, 10 and 1: tea towel before steel kettle both times. title:
# kettle, 1 and 0: "steel kettle with a long spout" before "steel kettle"; in a table of titles the reverse.
# Source: the documentation of bm25() has the formula; what follows from it measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    apsw==3.54.1.0 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import apsw

LONG = "one litre with a lid and a handle that stays cool and a warranty of five years and a filter " * 4
PRODUCTS = [
    ("steel kettle", LONG),
    ("tea towel", "kettle kettle kettle"),
    ("steel kettle with a long spout", "new"),
    *((f"pan {number}", "of no interest here") for number in range(20)),
]
database = apsw.Connection(":memory:")
database.execute("create virtual table products using fts5(title, description)")
database.executemany("insert into products values (?, ?)", PRODUCTS)
database.execute("create virtual table titles using fts5(title)")
database.executemany("insert into titles values (?)", [(title,) for title, _ in PRODUCTS])


def order(query, *weights, table="products"):
    """Return the titles that are found, best first."""
    score = f"bm25({', '.join([table, *map(str, weights)])})"
    rows = database.execute(f"select title from {table} where {table} match ? order by {score}", (query,))
    return [title for (title,) in rows]


seen = {
    "both columns, 1 and 1": order("kettle", 1, 1),
    "both columns, 10 and 1": order("kettle", 10, 1),
    "the title alone, 1 and 0": order("title: kettle", 1, 0),
    "the title alone, 10 and 0": order("title: kettle", 10, 0),
    "a table of titles": order("kettle", table="titles"),
}
print(f"SQLite {apsw.sqlite_lib_version()}: what kettle finds")
for name, titles in seen.items():
    print(f"  {name}: {'; '.join(titles)}")


def stands_before(name, first, second):
    return seen[name].index(first) < seen[name].index(second)


spout = "steel kettle with a long spout"
as_seen = (
    all(stands_before(f"both columns, {weight} and 1", "tea towel", "steel kettle") for weight in (1, 10))
    and all(stands_before(f"the title alone, {weight} and 0", spout, "steel kettle") for weight in (1, 10))
    and stands_before("a table of titles", "steel kettle", spout)
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
