#!/usr/bin/env bash
# DuckDB: one product with a number among its attributes puts quotes around the words of all other products.
#
# What surprises: where products have attributes of their own each, read_json makes the attributes a map, and the values
# of a map are of one type. As long as all are words, that is VARCHAR and attributes['color'] is red. One product with a
# depth of 5, a yes or no, or a list makes all of them JSON, and attributes['color'] is "red" in quotes for products
# that did not change. A comparison with 'red' is at least refused, for 'red' is no JSON; LIKE 'r%', lower(…) = 'red'
# and the comparison after a cast to VARCHAR find nothing, in silence, and facets have quotes. In a catalogue where all
# products have the same few attributes they become a struct, each of its own type, and nothing happens: so a small
# sample is no test. Remedy: attributes->>'color', which is red both ways, or columns={'attributes': 'MAP(VARCHAR,
# VARCHAR)', …}.
#
# Software: duckdb 2.0.1.
# Seen, 20 products with a color and an attribute of their own: facets blue 10, red 10, LIKE 'r%' 10. With a red one
# that is 5 deep: facets "blue" 10, "red" 11, LIKE and lower 0, ->> 11, = refused; the same with true and a list. The
# same without own attributes: LIKE 11.
# Source: the documentation of DuckDB, Loading JSON (when a map is inferred); duckdb/duckdb issue 14167 (objects of many
# keys became maps in 1.1); what one value does to the others measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    duckdb==2.0.1 || exit 2

"$work/venv/bin/python" - "$work" <<'END'
import json
import sys

import duckdb

PATH = f"{sys.argv[1]}/products.jsonl"
COLOR = "attributes['color']"
MAP = "read_json($path, columns={'attributes': 'MAP(VARCHAR, VARCHAR)'})"


def asked(attributes, source="read_json($path)"):
    """Return the type of the attributes, the facets of color, and how many red products each condition finds."""
    with open(PATH, "w") as file:
        file.writelines(json.dumps({"attributes": each}) + "\n" for each in attributes)

    def rows(select):
        return duckdb.execute(select.replace("SOURCE", source), {"path": PATH}).fetchall()

    def count(condition):
        try:
            return rows(f"select count(*) from SOURCE where {condition}")[0][0]
        except duckdb.ConversionException:
            return "refused"

    return {
        "type": rows("select typeof(attributes) from SOURCE limit 1")[0][0].partition("(")[0],
        "facets": dict(rows(f"select {COLOR}::VARCHAR, count(*) from SOURCE group by 1 order by 1")),
        "like": count(f"{COLOR} like 'r%'"),
        "lower": count(f"lower({COLOR}) = 'red'"),
        "cast": count(f"{COLOR}::VARCHAR = 'red'"),
        "=": count(f"{COLOR} = 'red'"),
        "->>": count("attributes->>'color' = 'red'"),
    }


colors = ["red", "blue"] * 10
own = [{"color": color, f"detail{number}": "yes"} for number, color in enumerate(colors)]
seen = {"words alone": asked(own)}
for name, value in {"a number": 5, "true": True, "a list": ["inside", "outside"]}.items():
    seen[f"one more, with {name}"] = asked([*own, {"color": "red", "depth": value}])
deep = {"color": "red", "depth": 5}
seen["the same few attributes"] = asked([*({"color": color, "depth": 4} for color in colors), deep])
seen["with a number, as a map of VARCHAR"] = asked([*own, deep], MAP)
for name, answers in seen.items():
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in answers.items())}")

words, *mixed, few, mapped = seen.values()
finds = {"like": 11, "lower": 11, "cast": 11, "=": 11, "->>": 11}
as_seen = (
    words == {"type": "MAP", "facets": {"blue": 10, "red": 10}} | dict.fromkeys(finds, 10)
    and all(
        each
        == {"type": "MAP", "facets": {'"blue"': 10, '"red"': 11}, "like": 0, "lower": 0, "cast": 0}
        | {"=": "refused", "->>": 11}
        for each in mixed
    )
    and few == {"type": "STRUCT", "facets": {"blue": 10, "red": 11}} | finds
    and mapped == {"type": "MAP", "facets": {"blue": 10, "red": 11}} | finds
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
