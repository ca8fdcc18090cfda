"""How long the lexical leg takes beside its library called directly with the same tokens, and what the index weighs.

    python bench/lexical.py PRODUCTS.csv.gz [--queries 1000]

Queries are one to four words of a title. Both ways get the numbers of the tokens and give the best hundred rows; both
are timed by the processor, in turns, query by query, and who is first changes: other programs change a clock, and this
one hardly. Neither has read the lists of a query's words just before; what a search takes from the text on is timed by
itself, afterwards. ``bm25s`` is ``get_scores_from_ids`` and ``selection.topk``, its two calls without the progress bar
and the threads around them.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trident.commands.output import say
from trident.data.catalogue import read_catalogue
from trident.lexical.analyzer import Analyzer
from trident.lexical.files import ARRAYS_FILE, load_lexical, save_lexical
from trident.lexical.index import LexicalConfig, LexicalIndex, Tokenized, tokenize
from trident.lexical.postings import load_bm25s
from trident.lexical.spelling import Spelling

DEPTH = 100
ROUNDS = 5


def resident_bytes() -> int:
    """Return the memory of this process that is in use, mapped files with it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def direct(tokenized: Tokenized, config: LexicalConfig) -> Callable[[tuple[int, ...]], Any]:
    """Return the library's own search, over an index that it made of the same tokens."""
    bm25s = load_bm25s()
    library = bm25s.BM25(k1=config.bm25.k1, b=config.bm25.b, method="lucene", backend="numpy", csc_backend="numpy")
    documents = tokenized.documents(config)
    made = library.build_index_from_ids(range(len(tokenized.vocabulary)), documents, show_progress=False)
    library.scores = {**made, "num_docs": len(documents)}
    topk = __import__("bm25s.selection", fromlist=["topk"]).topk
    return lambda tokens: topk(library.get_scores_from_ids(list(tokens)), DEPTH, backend="numpy", sorted=True)


def microseconds(of: list[float]) -> str:
    """Return the middle, the mean and the 99th of a hundred."""
    return f"{np.median(of):,.0f} | {np.mean(of):,.0f} | {np.percentile(of, 99):,.0f}"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    arguments = parser.parse_args()
    catalogue, config = read_catalogue(arguments.catalogue), LexicalConfig()
    draw = random.Random(0)  # noqa: S311 - no secret
    started = time.process_time()
    tokenized = tokenize(catalogue.titles, {}, Analyzer(config.analyzer))
    made = LexicalIndex.of(tokenized, config)
    built = time.process_time() - started
    titles = [catalogue.titles[draw.randrange(len(catalogue))].split() for _ in range(arguments.queries)]
    texts = [" ".join(draw.sample(words, min(len(words), draw.randint(1, 4)))) for words in titles if words]
    library = direct(tokenized, config)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "catalogue").write_bytes(b"of a bench")
        save_lexical(made, Path(folder), Path(folder) / "catalogue")
        size = (Path(folder) / ARRAYS_FILE).stat().st_size
        del made
        before = resident_bytes()
        index = load_lexical(Path(folder), Path(folder) / "catalogue")
        tokens = [index.tokens(text) for text in texts]
        for each in tokens:
            index.postings.sums(each).best(DEPTH)
        after = resident_bytes()
        Spelling(index)
        spelling = resident_bytes() - after
        whole: list[float] = []
        times: dict[str, list[float]] = {"this index": [], "bm25s": []}
        ways = {"this index": lambda numbers: index.postings.sums(numbers).best(DEPTH), "bm25s": library}
        for number in range(ROUNDS):
            for place, numbers in enumerate(tokens):
                for name in list(ways)[:: 1 if (number + place) % 2 else -1]:
                    begun = time.thread_time_ns()
                    ways[name](numbers)
                    times[name].append((time.thread_time_ns() - begun) / 1000)
        for _ in range(ROUNDS):
            for text in texts:
                begun = time.thread_time_ns()
                index.search(text, DEPTH)
                whole.append((time.thread_time_ns() - begun) / 1000)
        entries, vocabulary = len(index.postings.rows), len(index.vocabulary)
    say(
        f"{len(catalogue):,} titles, {vocabulary:,} tokens, {entries:,} entries: made in {built:.1f} s of the "
        f"processor, {size / 2**20:.1f} MiB on the disk, {(after - before) / 2**20:.1f} MiB of them resident after "
        f"{len(texts):,} queries, words for spelling {spelling / 2**20:.1f} MiB"
    )
    say(f"| microseconds of the processor, best {DEPTH} | median | mean | 99th |")
    say("| --- | ---: | ---: | ---: |")
    for name, of in times.items():
        say(f"| {name}, tokens given | {microseconds(of)} |")
    say(f"| this index, from the text on | {microseconds(whole)} |")
    say(f"mean ratio {np.mean(times['this index']) / np.mean(times['bm25s']):.2f}")


if __name__ == "__main__":
    main()
