"""Pairs a second of a generation's second stage, beside sentence-transformers' CrossEncoder with the same weights.

    python bench/rerank.py --generation generations/ID --queries pairs.csv --candidates 20 --rounds 5

Both take the same queries, each with its candidates of the first stage, one query at a time, in turns, on as many
threads; the order in which they start changes each time, so that a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder

from trident.bench.queries import draw_queries
from trident.encoder.pairs import longest_pair
from trident.generation.generation import RERANKER_FOLDER, Generation
from trident.ranking.reranking import PairCache, Reranker, Task
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher

Asked = list[tuple[str, list[str]]]  # a query and its candidates' titles


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generation", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--count", type=int, default=30, help="queries a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generation = Generation.load(options.generation)
    searcher = Searcher.load(generation, threads=options.threads)
    stage = searcher.second_stage
    if stage is None:
        raise SystemExit(f"generation {generation.id} has no second stage: export one with --reranker")
    asked = candidates(searcher, draw_queries(options.queries, count=options.count), options.candidates)
    ours = Reranker(*stage.reranker.parts(), cache=PairCache(0))
    theirs = CrossEncoder(
        str(generation.folder / RERANKER_FOLDER), max_length=longest_pair(stage.reranker.contract), device="cpu"
    )
    programs: dict[str, Callable[[str, list[str]], object]] = {
        "trident": lambda query, titles: ours.score([Task(query, titles)]),
        "sentence-transformers": lambda query, titles: theirs.predict([(query, title) for title in titles]),
    }
    for score in programs.values():
        score(*asked[0])  # nothing of the first run counts
    taken = measure(programs, asked, options.rounds)
    pairs = sum(len(titles) for _, titles in asked)
    rounds = {name: [sum(each) for each in values] for name, values in taken.items()}
    ratios = [theirs_s / ours_s for ours_s, theirs_s in zip(*rounds.values(), strict=True)]
    sys.stdout.write(
        json.dumps(
            {
                "pairs": pairs,
                "threads": options.threads,
                "pairs_per_s": {name: pairs / statistics.median(each) for name, each in rounds.items()},
                "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
                "p50_ms_a_query": {
                    name: 1000 * statistics.median(one for each in values for one in each)
                    for name, values in taken.items()
                },
            },
            indent=1,
        )
        + "\n"
    )


def candidates(searcher: Searcher, queries: Sequence[str], count: int) -> Asked:
    """Return the queries with the titles of what the first stage finds."""
    hits = searcher.search(queries, [SearchKnobs(k=count, rerank=0)] * len(queries))
    return [
        (query, [title.decode() for title in hits.titles[row, : hits.counts[row, 0]]])
        for row, query in enumerate(queries)
    ]


def measure(
    programs: dict[str, Callable[[str, list[str]], object]], asked: Asked, rounds: int
) -> dict[str, list[list[float]]]:
    """Return the seconds of each query, by program and round."""
    taken: dict[str, list[list[float]]] = {name: [] for name in programs}
    for number in range(rounds):
        for seconds in taken.values():
            seconds.append([])
        for place, (query, titles) in enumerate(asked):
            for name in list(programs)[:: 1 if (number + place) % 2 else -1]:
                started = time.perf_counter()
                programs[name](query, titles)
                taken[name][-1].append(time.perf_counter() - started)
    return taken


if __name__ == "__main__":
    main()
