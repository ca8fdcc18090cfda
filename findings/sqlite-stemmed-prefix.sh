#!/usr/bin/env bash
# SQLite FTS5: with the porter tokenizer, search as you type loses a product in the middle of its word.
#
# What surprises: of "drawer organization box" one expects each prefix of a word to find it, "organiz*" as well as
# "organ*". With porter the index holds stems, and the prefix is stemmed as if it were a whole word: "organiz*" looks
# for stems that begin with "organiz", while the title has "organ". From the letter on with which what was typed gets
# longer than the stem, search as you type answers nothing, until the ending is complete and cut off again. A test that
# types the first three letters, or the whole word, passes. Remedy: a second table without porter, for prefixes.
#
# Software: SQLite 3.54.1 of apsw 3.54.1.0.
# Seen, prefixes from three letters on, + found: organization +++------+, generation +++----+, running +---+,
# accessories +++++++++; without porter all of them.
# Source: measured, 2026-11-30.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    apsw==3.54.1.0 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import apsw

TITLES = ("drawer organization box", "next generation speaker", "accessories kit", "running shoes")
database = apsw.Connection(":memory:")
for table, tokenizer in (("stemmed", "porter unicode61"), ("plain", "unicode61")):
    database.execute(f"create virtual table {table} using fts5(title, tokenize='{tokenizer}')")
    database.executemany(f"insert into {table} values (?)", [(title,) for title in TITLES])


def found(table, word):
    """Return for each prefix of a word, from three letters on, whether it finds the product."""
    query = f"select count(*) from {table} where {table} match ?"
    return [database.execute(query, (f"{word[:size]}*",)).get > 0 for size in range(3, len(word) + 1)]


print(f"SQLite {apsw.sqlite_lib_version()}: prefixes from three letters on, + finds the product, - finds nothing")
seen = {}
for word in ("organization", "generation", "accessories", "running"):
    seen[word] = found("stemmed", word)
    marks = ["".join("+" if each else "-" for each in found(table, word)) for table in ("stemmed", "plain")]
    print(f"  {word}: stemmed {marks[0]}, not stemmed {marks[1]}")

as_seen = all(all(found("plain", word)) for word in seen) and all(
    found_by[0] and found_by[-1] and not all(found_by) for found_by in (seen["organization"], seen["generation"])
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
