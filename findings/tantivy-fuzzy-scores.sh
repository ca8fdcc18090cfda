#!/usr/bin/env bash
# tantivy: with fuzzy words every match counts 1, so that what was typed exactly is not above what is one letter off.
#
# What surprises: fuzzy_fields of parse_query looks like "find near words too", so one expects the same order as before,
# with the near ones below. But a fuzzy word is scored by a constant: no BM25 at all is left, neither how rare a word
# is nor how often it stands there nor how long the title is, and an exact match and one with a wrong letter both count
# 1. Equal scores are put out in the order in which the products came in. So a shop that forgives typing errors gets
# shows above shoes for "shoes" where they were added first, and for "gaiters shoes" its only gaiters below all shoes.
# Remedy: both queries in one, the plain one with a boost.
#
# Software: tantivy 0.27.0 (the Python package).
# Seen, "shoes" among shows on a long list of films, red shoes, shoes: plain shoes, red shoes; fuzzy all three in the
# order of coming, 1 each; both in one query shoes, red shoes, shows. "gaiters shoes" among nine shoes and one gaiters:
# plain gaiters first, fuzzy 1 each and gaiters last.
# Source: quickwit-oss/tantivy issue 563 (asks for scores by distance); the rest measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    tantivy==0.27.0 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

import tantivy

FUZZY = {"title": (False, 1, True)}  # no prefix, one letter off, two swapped count as one


def searcher_of(titles):
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("title", stored=True)
    index = tantivy.Index(builder.build())
    writer = index.writer(num_threads=1)
    for title in titles:
        document = tantivy.Document()
        document.add_text("title", title)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index, index.searcher()


def found(index, searcher, query):
    return [(searcher.doc(place)["title"][0], round(score, 2)) for score, place in searcher.search(query, 4).hits]


def asked(titles, text):
    """Return the best of a query: plain, fuzzy, and both in one."""
    index, searcher = searcher_of(titles)
    plain = index.parse_query(text, ["title"])
    fuzzy = index.parse_query(text, ["title"], fuzzy_fields=FUZZY)
    boosted = tantivy.Query.boost_query(plain, 10.0)
    both = tantivy.Query.boolean_query([(tantivy.Occur.Should, boosted), (tantivy.Occur.Should, fuzzy)])
    return [found(index, searcher, query) for query in (plain, fuzzy, both)]


near = asked(["shows on a long list of films", "red shoes", "shoes", "lamp"], "shoes")
rare = asked([f"shoes {size}" for size in range(36, 45)] + ["gaiters", "lamp"], "gaiters shoes")
for text, answers in (("shoes", near), ("gaiters shoes", rare)):
    print(text)
    for way, answer in zip(("plain", "fuzzy", "both"), answers, strict=True):
        print(f"  {way}: {', '.join(f'{title} {score:g}' for title, score in answer)}")

as_seen = (
    near[0][0][0] == "shoes"
    and [title for title, _ in near[1]] == ["shows on a long list of films", "red shoes", "shoes"]
    and {score for _, score in near[1]} == {1.0}
    and [title for title, _ in near[2]] == ["shoes", "red shoes", "shows on a long list of films"]
    and rare[0][0][0] == "gaiters"
    and {score for _, score in rare[1]} == {1.0}
    and "gaiters" not in dict(rare[1])
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
