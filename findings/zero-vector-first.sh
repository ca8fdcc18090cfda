#!/usr/bin/env bash
# DuckDB, polars, NumPy: a product whose vector is all zeros is the best answer to every query, or the worst.
#
# What surprises: a product without text has a vector of zeros, which is near to nothing, so that one expects it at the
# end. Its cosine is NaN, and where that stands is up to each step. DuckDB's array_cosine_similarity gives NaN, which is
# above all numbers there: it heads "order by similarity desc", whatever NULLS LAST says, is arg_max, and passes
# "similarity > 0.5". By array_cosine_distance, the same thing seen from the other side, it comes last and does not
# pass. polars' sort, top_k and filter hold NaN for the largest too. pandas puts the same scores' NaN last, and NumPy
# both ways: argsort(-scores) has it last, argsort(scores)[::-1] and argmax first. So a ranking that was checked in one
# place is another one in the next, and a catalogue with one empty product shows it for all queries. Remedy: vectors of
# length 1, checked when they are written, and then the inner product, which is 0 here.
#
# Software: duckdb 2.0.1, polars 2.1.0, pandas 3.1.1, numpy 2.4.6.
# Seen, shoe 1, boot .8, hat 0, untitled zeros, the best two: DuckDB by similarity untitled and shoe, by distance shoe
# and boot, by inner product shoe and boot; polars untitled and shoe; pandas shoe and boot; NumPy argsort(-scores) shoe
# and boot, [::-1] untitled and shoe.
# Source: measured, 2026-12-01; spiceai/spiceai pull request 11621 and vlasky/sqlite-vec issue 8 are others of the kind.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    duckdb==2.0.1 polars==2.1.0 pandas==3.1.1 numpy==2.4.6 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import duckdb
import numpy
import pandas
import polars

VECTORS = {"shoe": [1.0, 0.0], "boot": [0.8, 0.6], "hat": [0.0, 1.0], "untitled": [0.0, 0.0]}
database = duckdb.connect()
database.execute("create table products (name VARCHAR, vector FLOAT[2])")
database.executemany("insert into products values (?, ?)", list(VECTORS.items()))
database.execute(
    "create view scored as select name, array_cosine_similarity(vector, [1, 0]::FLOAT[2]) as similarity, "
    "array_cosine_distance(vector, [1, 0]::FLOAT[2]) as distance, "
    "array_inner_product(vector, [1, 0]::FLOAT[2]) as product from products"
)


def by_duckdb(rest):
    return [name for (name,) in database.execute(f"select name from scored {rest}").fetchall()]


rows = database.execute("select name, similarity from scored").fetchall()
names, scores = [name for name, _ in rows], numpy.array([score for _, score in rows], numpy.float32)
frame, other_frame = (kind({"name": names, "score": scores}) for kind in (polars.DataFrame, pandas.DataFrame))
first = {
    "DuckDB, order by similarity desc": by_duckdb("order by similarity desc limit 2"),
    "DuckDB, order by similarity desc nulls last": by_duckdb("order by similarity desc nulls last limit 2"),
    "polars, sort": frame.sort("score", descending=True, nulls_last=True)["name"].to_list()[:2],
    "polars, top_k": frame.top_k(2, by="score").sort("score", descending=True)["name"].to_list(),
    "NumPy, argsort(scores)[::-1]": [names[place] for place in numpy.argsort(scores)[::-1][:2]],
}
last = {
    "DuckDB, order by distance": by_duckdb("order by distance limit 2"),
    "DuckDB, order by inner product desc": by_duckdb("order by product desc limit 2"),
    "pandas, sort_values": other_frame.sort_values("score", ascending=False)["name"].to_list()[:2],
    "NumPy, argsort(-scores)": [names[place] for place in numpy.argsort(-scores)[:2]],
}
passes = {
    "DuckDB, similarity > 0.5": "untitled" in by_duckdb("where similarity > 0.5"),
    "polars, score > 0.5": "untitled" in frame.filter(polars.col("score") > 0.5)["name"].to_list(),
    "DuckDB, distance < 0.5": "untitled" in by_duckdb("where distance < 0.5"),
    "pandas, score > 0.5": "untitled" in other_frame[other_frame["score"] > 0.5]["name"].to_list(),
}
for name, best in (first | last).items():
    print(f"{name}: {', '.join(best)}")
for name, found in passes.items():
    print(f"{name}: untitled {'passes' if found else 'does not pass'}")

as_seen = (
    all(best == ["untitled", "shoe"] for best in first.values())
    and all(best == ["shoe", "boot"] for best in last.values())
    and list(passes.values()) == [True, True, False, False]
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
