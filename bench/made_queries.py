"""Queries made of a catalogue of electronics, to see what words and vectors do where one of them can do nothing.

    python bench/made_queries.py --generations generations/ [--seed 0]

Three sets, none of which anything is chosen by:

- codes: model numbers that stand in one title only, typed in several ways; the product is to be first;
- typos: five to nine words of a title, one mistyped, that find the product among ten typed right; it is to be again;
- paraphrases: kinds and colours in other words, none of which stands in a title that is meant. Half of them choose a
  weight of words as an export does, the other half say what that weight loses against vectors alone.

Prints one JSON document. Exits 1 when a target is missed: codes .95, typos .90, a weight of 0 or a loss whose lower
end is above -.01.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trident.config import to_table
from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.pairs import Pairs
from trident.generation.generation import find_generation
from trident.lexical.analyzer import is_code
from trident.lexical.index import LexicalIndex
from trident.quality.paired import mean_change
from trident.quality.ranking_choice import AskedLegs, Judgements, choose_weight, mean
from trident.retrieval.options import RankingKnobs
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Retriever
from trident.retrieval.words import ProductLegs
from trident.search.searcher import Searcher

CODES, TYPOS, PARAPHRASES = 200, 200, 500
DEPTH = 100
FEWEST, MOST = 3, 400  # products that a paraphrase may mean
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# What titles call a kind, and what people may say instead: a table of our own.
KINDS = {
    "notebook": ("laptop computer", "portable pc", "travel computer", "macbook alternative", "ultraportable machine"),
    "headphones": ("earphones", "earbuds for music", "headset for listening", "ear speakers", "cans for listening"),
    "mouse": ("pointing device", "cursor clicker", "trackball alternative", "desktop pointer", "hand pointer for pc"),
    "keyboard": ("typing device", "typewriter keys for pc", "keys for typing", "qwerty input", "text entry hardware"),
    "projector": ("beamer", "home cinema light thrower", "movie beamer", "wall image machine", "slideshow beamer"),
    "scanner": ("document digitizer", "page digitiser", "digitising machine", "copying pages to pc", "ocr machine"),
    "monitor": ("computer screen", "desktop screen", "lcd panel for pc", "visual screen", "pc television"),
    "lamp": ("replacement bulb", "spare bulb", "beamer bulb", "light bulb", "bulb for beamer"),
    "processor": ("cpu", "computer chip", "central chip", "silicon brain of pc", "computing chip"),
    "battery": ("rechargeable cell", "accumulator", "power cell", "energy cell", "accu pack"),
    "camera": ("photo shooter", "picture taking device", "photographing device", "snapshots gadget", "shooting photos"),
    "headset": ("earphones with microphone", "call earpiece", "callcenter earphones", "voice chat earphones"),
    "motherboard": ("mainboard", "system board of pc", "main circuit board", "mobo", "pcb for building a pc"),
    "switch": ("lan hub", "ports hub for office lan", "packet forwarding box", "wired lan box", "rj45 hub"),
    "toner": ("laser ink", "laser printing powder", "ink powder", "refill for laserprinter", "copier powder"),
    "ribbon": ("ink band", "typewriter band", "dot matrix ink band", "needle printer ink", "ink strip"),
    "keystone": ("wall jack insert", "lan socket insert", "rj45 wall jack", "wall plate jack"),
    "speaker": ("loud sound box", "music box", "boombox", "audio box", "sound boxes"),
    "doll": ("toy girl", "figure for kids to play", "toy princess", "toy baby", "play figure"),
    "pieces": ("jigsaw", "jigsaw puzzle", "puzzle game", "puzzle picture for family", "jig saw"),
    "laminator": ("plastic sealing machine", "sealing documents in plastic", "plastification device"),
    "calculator": ("adding machine", "maths gadget", "arithmetic machine", "number crunching gadget"),
    "phone": ("handset for calls", "calling device", "landline handset", "cordless handset"),
    "router": ("internet box", "wifi box", "dsl box", "internet sharing box", "broadband box"),
    "tripod": ("three legged holder", "photographer legs", "three leg support"),
    "backpack": ("rucksack", "shoulder luggage", "school bag", "daypack", "knapsack"),
    "webcam": ("video call eye", "videochat eye", "conference eye for pc"),
    "shredder": ("paper destroyer", "document destroyer", "cutting papers to strips"),
    "television": ("flat screen set", "living room screen", "big screen set"),
    "joystick": ("flight stick", "game controller", "gaming stick"),
}
COLOURS = {
    "": (),
    "black": ("dark", "ebony", "jet dark", "coal coloured"),
    "white": ("ivory", "snow coloured", "pale"),
    "silver": ("chrome coloured", "metallic", "shiny metal"),
    "blue": ("navy", "azure", "sky coloured"),
    "red": ("crimson", "scarlet", "ruby coloured"),
    "gray": ("anthracite", "ash coloured"),
}
WISHES = (
    "",
    "cheap",
    "good",
    "for office",
    "for work",
    "for students",
    "to buy",
    "for beginners",
    "best",
    "affordable",
)


def code_queries(index: LexicalIndex, titles: Sequence[str], draw: random.Random) -> list[tuple[str, int]]:
    """Return model numbers that stand in one title only, as people type them, and the rows of those titles."""
    found, order = [], list(range(len(titles)))
    draw.shuffle(order)
    counts: Counter[str] = Counter()
    for title in titles:
        counts.update(set(index.analyzer.tokens(title)))
    for row in order:
        for word in titles[row].split():
            plain = word.strip(",()").lower()
            folded = plain.replace("-", "")
            if not plain.replace("-", "").isalnum() or not is_code(folded) or counts[folded] != 1:
                continue
            ways = [plain, word.strip(",()"), plain.upper(), folded, plain.replace("-", " ")]
            found.append((draw.choice(ways), row))
            break
        if len(found) == CODES:
            break
    return found


def mistyped(word: str, draw: random.Random) -> str:
    """Return a word with one letter left out, put in, changed, or swapped with the next."""
    place, letter = draw.randrange(1, len(word) - 1), draw.choice(LETTERS)
    return draw.choice(
        (
            word[:place] + word[place + 1 :],
            word[:place] + letter + word[place:],
            word[:place] + letter + word[place + 1 :],
            word[:place] + word[place + 1] + word[place] + word[place + 2 :],
        )
    )


def typo_queries(
    searcher: Searcher, index: LexicalIndex, titles: Sequence[str], draw: random.Random
) -> list[tuple[str, int]]:
    """Return words of titles with a typo, and the rows that they mean: those that find their product typed right."""
    found: list[tuple[str, int]] = []
    ids = searcher.retriever.product_ids
    while len(found) < TYPOS:
        row = draw.randrange(len(titles))
        words = titles[row].lower().replace(",", " ").split()
        if len(words) < 5:
            continue
        size = draw.randint(5, min(9, len(words)))
        start = draw.randrange(len(words) - size + 1)
        chosen = words[start : start + size]
        long = [place for place, word in enumerate(chosen) if word.isalpha() and len(word) > 4]
        if not long:
            continue
        typed = list(chosen)
        place = draw.choice(long)
        typed[place] = mistyped(chosen[place], draw)
        if index.knows(typed[place]):  # another word
            continue
        right = searcher.search([" ".join(chosen)], [SearchKnobs(k=10, ranking=RankingKnobs(mode="hybrid"))])
        if ids[row].encode() in right.product_ids[0].tolist():
            found.append((" ".join(typed), row))
    return found


def paraphrases(index: LexicalIndex, titles: Sequence[str], draw: random.Random) -> list[tuple[str, list[int]]]:
    """Return queries that share no token with the titles that they mean, and the rows of these."""
    tokens = [frozenset(index.analyzer.tokens(title)) for title in titles]
    made: dict[str, list[int]] = {}
    meant: dict[tuple[str, str], list[int]] = {}
    for kind in KINDS:
        for colour in COLOURS:
            wanted = set(index.analyzer.tokens(f"{kind} {colour}"))
            meant[kind, colour] = [row for row, own in enumerate(tokens) if wanted <= own]
    choices = [key for key, rows in meant.items() if FEWEST <= len(rows) <= MOST]
    for _ in range(100 * PARAPHRASES):
        kind, colour = draw.choice(choices)
        said = (draw.choice(COLOURS[colour]) if colour else "", draw.choice(KINDS[kind]), draw.choice(WISHES))
        query = " ".join(each for each in said if each)
        own = set(index.analyzer.tokens(query))
        if all(own.isdisjoint(tokens[row]) for row in meant[kind, colour]):
            made.setdefault(query, meant[kind, colour])
        if len(made) == PARAPHRASES:
            break
    return list(made.items())


def share_found(searcher: Searcher, asked: Sequence[tuple[str, int]], k: int, ranking: RankingKnobs) -> float:
    """Return the share of queries that have the product that is meant among k."""
    ids = searcher.retriever.product_ids
    hits = searcher.search([query for query, _ in asked], [SearchKnobs(k=k, ranking=ranking)] * len(asked))
    there = [ids[row].encode() in found for (_, row), found in zip(asked, hits.product_ids.tolist(), strict=True)]
    return float(np.mean(there))


def judge_paraphrases(
    retriever: Retriever, searcher: Searcher, catalogue: Catalogue, asked: Sequence[tuple[str, list[int]]], own: float
) -> dict[str, Any]:
    """Return the weight that one half chooses, and what it, and the generation's own, lose on the other half."""
    assert retriever.words is not None
    index = retriever.words.lexical
    legs = ProductLegs(retriever.products(), index)
    halves = []
    for part in (asked[::2], asked[1::2]):
        rows = [(query, row) for query, of in part for row in of]
        labels = np.ones(len(rows), dtype=np.int8)
        ids, titles = ([source[row] for _, row in rows] for source in (catalogue.product_ids, catalogue.titles))
        pairs = Pairs([query for query, _ in rows], titles, labels, labels.astype(np.float32), ids)
        judged = Judgements.of(pairs, catalogue)
        halves.append((AskedLegs.ask(judged.queries, searcher.embed(judged.queries), index, legs, DEPTH), judged))
    (chosen_by, judged_by), (held, held_judged) = halves
    choice = choose_weight(chosen_by, judged_by)
    plain = held_judged.ndcg(held.order(0.0))
    losses = {}
    for name, weight in (("chosen", choice.weight), ("generation's", own)):
        with_words = held_judged.ndcg(held.order(weight))
        losses[name] = {
            "weight": weight,
            "ndcg_at_10": mean(with_words),
            "change": to_table(mean_change(with_words, plain)),
        }
    return {"queries": len(asked), "chosen_by": choice.seen, "vectors": mean(plain), "held_out": losses}


def main() -> int:
    """Make the sets, ask them, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generations", type=Path, required=True)
    parser.add_argument("--generation", help="id; the newest by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generation = find_generation(options.generations, options.generation)
    searcher = Searcher.load(generation)
    retriever = searcher.retriever
    assert retriever.words is not None
    index, draw = retriever.words.lexical, random.Random(options.seed)  # noqa: S311 - no secret
    catalogue = Catalogue.load(generation.version_folder("retriever") / CATALOGUE_FILE)
    titles = list(catalogue.titles)
    codes = code_queries(index, titles, draw)
    typos = typo_queries(searcher, index, titles, draw)
    hybrid, dense = RankingKnobs(mode="hybrid"), RankingKnobs(mode="dense", spelling=False)
    typed = RankingKnobs(mode="hybrid", spelling=False)
    found = {
        "codes": {
            "queries": len(codes),
            "first": share_found(searcher, codes, 1, hybrid),
            "first_by_vectors": share_found(searcher, codes, 1, dense),
        },
        "typos": {
            "queries": len(typos),
            "among_ten": share_found(searcher, typos, 10, hybrid),
            "as_typed": share_found(searcher, typos, 10, typed),
            "by_vectors": share_found(searcher, typos, 10, dense),
        },
        "paraphrases": judge_paraphrases(
            retriever, searcher, catalogue, paraphrases(index, titles, draw), retriever.words.settings.weight or 0.0
        ),
    }
    sys.stdout.write(json.dumps({"generation": generation.id, "seed": options.seed, **found}, indent=2) + "\n")
    chosen = found["paraphrases"]["held_out"]["chosen"]
    held = chosen["weight"] == 0 or chosen["change"]["low"] > -0.01
    return 0 if found["codes"]["first"] >= 0.95 and found["typos"]["among_ten"] >= 0.9 and held else 1


if __name__ == "__main__":
    sys.exit(main())
