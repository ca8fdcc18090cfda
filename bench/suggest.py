"""How long a suggestion takes, and what another library takes for the same prefixes.

    python bench/suggest.py NAMES.csv.gz [--peer] [--url 127.0.0.1:8001]

The different titles of a catalogue are the suggestions, each as frequent as it is there; prefixes of all lengths are
asked as they are, and with one typo. Beside the time on the clock stands that of the processor, which a shared machine
does not change much. ``--peer`` needs marisa-trie. ``--url`` asks a running server for the same prefixes over gRPC, one
after the other, and beside each whether it is alive: what that takes is the way and the machine, not the suggestion.
Its generation is exported with the names as queries (a table with ``query`` and ``count``, suggestions.min_queries=1).
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient

from trident.commands.output import say
from trident.data.catalogue import read_catalogue
from trident.lexical.phrases import catalogue_phrases
from trident.lexical.suggestions import SUGGESTIONS_FILE, Suggested, Suggestions, typed, write_suggestions
from trident_client import SearchClient

K = 10
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def prefixes(texts: Sequence[str], count: int, draw: random.Random) -> list[str]:
    """Return beginnings of texts, of every length."""
    chosen = draw.choices(texts, k=count)
    return [text[: draw.randint(1, len(text))] for text in chosen]


def with_typo(text: str, draw: random.Random) -> str:
    """Return a text with one typo behind its first letter."""
    if len(text) < 4:
        return text
    place, other = draw.randint(1, len(text) - 1), draw.randint(2, len(text) - 1)
    letter = draw.choice(LETTERS.replace(text[place], ""))
    return draw.choice(
        (
            text[:place] + text[place + 1 :],
            text[:place] + letter + text[place:],
            text[:place] + letter + text[place + 1 :],
            text[: other - 1] + text[other] + text[other - 1] + text[other + 1 :],
        )
    )


def timed(complete: Callable[[str], Any], asked: Sequence[str]) -> str:
    """Return the milliseconds of completions, and how many found something."""
    clock, processor, found = [], [], 0
    for prefix in asked:
        before, started = time.thread_time(), time.perf_counter()
        found += bool(complete(prefix))
        clock.append((time.perf_counter() - started) * 1000)
        processor.append((time.thread_time() - before) * 1000)
    shown = [f"{np.percentile(values, at):.3f}" for values in (clock, processor) for at in (50, 99, 100)]
    return " | ".join([*shown, f"{found / len(asked):.1%}"])


def served(url: str, asked: Sequence[str]) -> tuple[str, str]:
    """Return the milliseconds of suggestions over gRPC, and of a call that does nothing, in turns."""
    clock: list[float] = []
    floor: list[float] = []
    found = 0
    with SearchClient(url) as client, InferenceServerClient(url) as plain:
        for prefix in asked:
            started = time.perf_counter()
            found += bool(client.suggest(prefix, k=K).suggestions)
            suggested = time.perf_counter()
            plain.is_server_live()
            floor.append((time.perf_counter() - suggested) * 1000)
            clock.append((suggested - started) * 1000)
    shown = [" | ".join(f"{np.percentile(values, at):.3f}" for at in (50, 99, 100)) for values in (clock, floor)]
    return f"{shown[0]} | {found / len(asked):.1%}", shown[1]


def by_marisa_trie(counts: Counter[str]) -> Callable[[str], Any]:
    """Return the same completions by marisa-trie, mapped, without typos: it knows all that begin so, not the best."""
    marisa_trie = import_module("marisa_trie")
    frequencies = marisa_trie.RecordTrie("<I", ((text, (count,)) for text, count in counts.items()))
    saved = Path(tempfile.mkdtemp()) / "trie"
    frequencies.save(str(saved))
    mapped = marisa_trie.RecordTrie("<I").mmap(str(saved))
    say(f"marisa-trie: {saved.stat().st_size / 2**20:.1f} MiB")
    return lambda prefix: heapq.nlargest(K, mapped.items(prefix), key=lambda pair: pair[1])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--url", help="HOST:PORT of a server's gRPC")
    arguments = parser.parse_args()
    titles = read_catalogue(arguments.catalogue).titles
    started = time.thread_time()
    phrases = list(catalogue_phrases(titles))
    say(f"{len(titles):,} titles: {len(phrases):,} phrases in {time.thread_time() - started:.1f} s of the processor")
    counts = Counter(typed(title).strip() for title in titles)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / SUGGESTIONS_FILE
        write_suggestions(path, [Suggested(text, "query", count) for text, count in counts.items()])
        suggestions = Suggestions(path)
        say(f"{len(suggestions):,} suggestions, {path.stat().st_size / 2**20:.1f} MiB")
        draw = random.Random(0)  # noqa: S311 - no secret
        texts = [each.text for each in suggestions.all()]
        asked = prefixes(texts, arguments.queries, draw)
        mistyped = [with_typo(prefix, draw) for prefix in asked]
        say("| | p50 | p99 | most | processor p50 | p99 | most | answered |")
        say("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        say(f"| prefixes | {timed(suggestions.complete, asked)} |")
        say(f"| prefixes with one typo | {timed(suggestions.complete, mistyped)} |")
        for length in (1, 2, 3):
            say(f"| {length} characters | {timed(suggestions.complete, [prefix[:length] for prefix in asked])} |")
        if arguments.url:
            say("| over gRPC, clock alone | p50 | p99 | most | answered |")
            for name, prefixes_of in (("prefixes", asked), ("with one typo", mistyped)):
                answered, nothing = served(arguments.url, [each for each in prefixes_of if each.strip()])
                say(f"| {name} | {answered} |")
                say(f"| is alive, between them | {nothing} | |")
        if arguments.peer:
            say(f"| marisa-trie, prefixes | {timed(by_marisa_trie(counts), asked[:300])} |")


if __name__ == "__main__":
    main()
