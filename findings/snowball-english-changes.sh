#!/usr/bin/env bash
# Snowball: an index that was stemmed before an upgrade of PyStemmer does not find "organizer" after it.
#
# What surprises: the English stemmer is a published algorithm and decades old, so one expects it to be the same in
# every release, and keeps the stems in an index for years. It is not: Snowball 3.0 and 3.1 stem other English words
# than before, and German and Dutch ones. Whoever upgrades the library of a running service stems queries in another way
# than the titles were: each changed word finds nothing, or what stands under its former stem, without an error. In
# German it is product words as plain as blue, tablet and bluetooth. The name of the algorithm stays the same, and
# Stemmer.version() says 2.0.1 in 2.2.0.3 and in 3.0.0 alike, so that it cannot tell the two apart. Remedy: the stemmer
# is part of the index; keep the stems of its words, or a hash of them, in it, and compare when it is loaded.
# Trident keeps such a hash in lexical.json and refuses an index whose words have other stems now.
#
# Software: PyStemmer 2.2.0.3, 3.0.0 and 3.1.0; bm25s 0.3.16.
# Seen, titles stemmed by 2.2.0.3, found with queries stemmed by 2.2.0.3, 3.0.0, 3.1.0: organizer yes, no, no; evening
# yes, no, no; emergency yes, no, no; international yes, yes, no; universal yes, no, no; German blue yes, no, no; tablet
# yes, no, no; bluetooth yes, no, no; drawer, always.
# Source: measured, 2026-12-01; Lucene's README of its analyzers warns of indexes made with an older Snowball.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for version in 2.2.0.3 3.0.0 3.1.0; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install -qq --disable-pip-version-check --no-compile "pystemmer==$version" || exit 2
done
"$work/3.1.0/bin/pip" install -qq --disable-pip-version-check --no-compile bm25s==0.3.16 numpy==2.4.6 || exit 2

stems() {
    "$work/$1/bin/python" - <<'END'
import json

import Stemmer

WORDS = {
    "english": ["organizer", "evening", "emergency", "universal", "international", "drawer"],
    "german": ["blue", "tablet", "bluetooth", "lampe"],
}
stems = {f"{language} {word}": Stemmer.Stemmer(language).stemWord(word) for language in WORDS for word in WORDS[language]}
print(json.dumps({"version": Stemmer.version(), "stems": stems}))
END
}
for version in 2.2.0.3 3.0.0 3.1.0; do
    stems "$version" >"$work/$version.json"
done

"$work/3.1.0/bin/python" - "$work" <<'END'
import json
import sys

import bm25s

VERSIONS = ("2.2.0.3", "3.0.0", "3.1.0")
made = {}
for version in VERSIONS:
    with open(f"{sys.argv[1]}/{version}.json") as file:
        made[version] = json.load(file)
words = list(made[VERSIONS[0]]["stems"])
titles = [[made[VERSIONS[0]]["stems"][word]] for word in words]  # one product for each word
index = bm25s.BM25()
index.index(titles, show_progress=False)

print("what Stemmer.version() says:", ", ".join(f"{version} {made[version]['version']}" for version in VERSIONS))
print(f"titles stemmed by {VERSIONS[0]}: is the product found with the query's stem by {', '.join(VERSIONS)}")
seen = {}
for row, word in enumerate(words):
    stems = [made[version]["stems"][word] for version in VERSIONS]
    seen[word] = ["yes" if index.get_scores([stem])[row] > 0 else "no" for stem in stems]
    print(f"  {word}: {', '.join(f'{stem} {found}' for stem, found in zip(stems, seen[word], strict=True))}")

changed_by_3_0 = ("english organizer", "english evening", "english emergency", "english universal", "german blue",
                  "german tablet", "german bluetooth")
as_seen = (
    made["2.2.0.3"]["version"] == made["3.0.0"]["version"]
    and all(seen[word] == ["yes", "no", "no"] for word in changed_by_3_0)
    and seen["english international"] == ["yes", "yes", "no"]
    and all(seen[word] == ["yes"] * 3 for word in ("english drawer", "german lampe"))
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
