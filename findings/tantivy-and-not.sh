#!/usr/bin/env bash
# tantivy: "shoes AND NOT red" finds nothing, without an error, where "shoes NOT red" finds what it says.
#
# What surprises: AND NOT is how one writes an exclusion, and the parser takes it. It reads NOT red as a query of its
# own that both must match, and a query that only excludes matches nothing, so the whole is empty: also with a price or
# a brand behind the NOT, after "*", in brackets, with the NOT in front, and in the lenient parser, which reports
# nothing. "OR NOT" does nothing instead. NOT without AND, a minus, and even AND with a minus are right, and so are the
# clauses that a program puts together itself, unless the exclusion is in a boolean query of its own, as a filter that
# is handed on is. NOT alone is refused with an error, which makes one expect an error here. A shop that composes its
# filters with AND shows an empty page. Remedy: a minus; in a program, all_query beside what a query of its own
# excludes.
#
# Software: tantivy 0.27.0 (the Python package).
# Seen, red shoes, blue shoes, white shoes, red hat: "shoes NOT red", "shoes -red", "shoes AND -red" blue and white
# shoes; "shoes AND NOT red", "NOT red AND shoes", "shoes AND NOT price:[15 TO *]" none; "shoes OR NOT red" all shoes.
# Source: quickwit-oss/tantivy issues 1980 (names AND NOT as what works) and 2317 (exclusion alone); the forms measured,
# 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    tantivy==0.27.0 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import tantivy

builder = tantivy.SchemaBuilder()
builder.add_text_field("title", stored=True)
builder.add_float_field("price", indexed=True, fast=True)
index = tantivy.Index(builder.build())
writer = index.writer(num_threads=1)
for title, price in (("red shoes", 10.0), ("blue shoes", 12.0), ("white shoes", 30.0), ("red hat", 5.0)):
    document = tantivy.Document()
    document.add_text("title", title)
    document.add_float("price", price)
    writer.add_document(document)
writer.commit()
writer.wait_merging_threads()
index.reload()
searcher = index.searcher()


def found(query):
    hits = searcher.search(query, 10).hits
    return ", ".join(sorted(searcher.doc(place)["title"][0] for _, place in hits)) or "none"


def parsed(text):
    return found(index.parse_query(text, ["title"]))


def lenient(text):
    query, errors = index.parse_query_lenient(text, ["title"])
    return f"{found(query)}, {len(errors)} errors"


def boolean(*clauses):
    return tantivy.Query.boolean_query(list(clauses))


must, must_not = tantivy.Occur.Must, tantivy.Occur.MustNot
shoes, red = (tantivy.Query.term_query(index.schema, "title", word) for word in ("shoes", "red"))
right = {
    "shoes NOT red": parsed("shoes NOT red"),
    "shoes -red": parsed("shoes -red"),
    "shoes AND -red": parsed("shoes AND -red"),
    "built, must shoes, must not red": found(boolean((must, shoes), (must_not, red))),
    "built, must shoes, must (all, must not red)": found(
        boolean((must, shoes), (must, boolean((must, tantivy.Query.all_query()), (must_not, red))))
    ),
}
empty = {
    "shoes AND NOT red": parsed("shoes AND NOT red"),
    "NOT red AND shoes": parsed("NOT red AND shoes"),
    "shoes AND (NOT red)": parsed("shoes AND (NOT red)"),
    "* AND NOT red": parsed("* AND NOT red"),
    "shoes AND NOT price:[15 TO *]": parsed("shoes AND NOT price:[15 TO *]"),
    "built, must shoes, must (must not red)": found(boolean((must, shoes), (must, boolean((must_not, red))))),
}
by_lenient, by_or = lenient("shoes AND NOT red"), parsed("shoes OR NOT red")
for name, titles in (right | empty).items():
    print(f"{name}: {titles}")
print(f"shoes AND NOT red, the lenient parser: {by_lenient}")
print(f"shoes OR NOT red: {by_or}")

as_seen = (
    set(right.values()) == {"blue shoes, white shoes"}
    and set(empty.values()) == {"none"}
    and by_lenient == "none, 0 errors"
    and by_or == "blue shoes, red shoes, white shoes"
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
