#!/usr/bin/env bash
# symspellpy: lookup_compound corrects "shoes size 10" to "shoes size of" where 10 is no word of the dictionary.
#
# What surprises: a corrector of spelling is for misspelt words, and a number is none. lookup_compound takes what the
# dictionary lacks and looks for the most frequent word within two letters, and within two letters of "10", "xl" or "a4"
# lies every word of two letters: "of" and "in", which are the most frequent there are. So every size, model and
# inch in a query that is not in the dictionary becomes a preposition, and what was typed rightly is lost. Its result
# says how far off it is, 2, as for a real correction. ignore_non_words keeps plain numbers and nothing else: "xl
# shoes" is still "of shoes", and "a4 case" "of case". "8gb" needs ignore_term_with_digits too. Remedy: correct word by
# word, and none that has a digit or is shorter than four letters.
# Trident corrects words of letters alone, and none that stands in the catalogue.
#
# Software: symspellpy 6.10.1.
# Seen, with a dictionary of words of a shop and a few of English: shoes size 10 -> shoes size of; iphone 15 case ->
# iphone of case; a4 case -> of case; xl shoes -> of shoes; with ignore_non_words shoes size 10 and iphone 15 case stay,
# the others do not.
# Source: wolfgarbe/SymSpell issue 34 and mammothb/symspellpy issues 54 and 100 (numbers are changed); short words
# measured, 2026-12-01.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile \
    symspellpy==6.10.1 || exit 2

"$work/venv/bin/python" - <<'END'
import sys

from symspellpy import SymSpell

COUNTS = {"the": 9000, "of": 5000, "for": 4000, "in": 3000, "case": 1000, "iphone": 900, "shoes": 800, "size": 700}
speller = SymSpell(max_dictionary_edit_distance=2)
for word, count in COUNTS.items():
    speller.create_dictionary_entry(word, count)


def corrected(query, **options):
    return speller.lookup_compound(query, max_edit_distance=2, **options)[0].term


seen = {}
for query in ("shoes size 10", "iphone 15 case", "a4 case", "xl shoes", "iphnoe case"):
    digits = {"ignore_non_words": True, "ignore_term_with_digits": True}
    seen[query] = [corrected(query), corrected(query, ignore_non_words=True), corrected(query, **digits)]
    print(f"{query}: {seen[query][0]}; ignore_non_words {seen[query][1]}; and ignore_term_with_digits {seen[query][2]}")

as_seen = seen == {
    "shoes size 10": ["shoes size of", "shoes size 10", "shoes size 10"],
    "iphone 15 case": ["iphone of case", "iphone 15 case", "iphone 15 case"],
    "a4 case": ["of case", "of case", "a4 case"],
    "xl shoes": ["of shoes", "of shoes", "of shoes"],
    "iphnoe case": ["iphone case"] * 3,
}
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
