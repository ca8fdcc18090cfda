"""Answers the requests of a batch together: all are embedded at once, and those that want products searched at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trident.encoder.text import Side
from trident.errors import StoreAwayError, TridentError
from trident.retrieval.requests import SearchKnobs
from trident.retrieval.retriever import Hits
from trident.search.searcher import Searcher
from trident.search.timing import is_timed, timed
from trident.stage_times import StageTimes, measured, stage


@dataclass(frozen=True)
class Asked:
    """One request of B texts.

    Attributes:
        texts: Each with its side.
        knobs: One a text; not looked at where no products are wanted.
        wants_products: Whether the index is searched.
        is_live: Whether people asked, and not a check.
    """

    texts: list[tuple[str, Side]]
    knobs: list[SearchKnobs]
    wants_products: bool = True
    is_live: bool = True


@dataclass(frozen=True)
class Answer:
    """Embeddings (B, D) float32 of unit length, and the products as wide as the largest k, where they were wanted."""

    embeddings: NDArray[np.float32]
    hits: Hits | None


# Called with the embeddings (S, D), knobs, products and liveness of everything that was searched in a batch.
Watch = Callable[[NDArray[np.float32], Sequence[SearchKnobs], Hits, Sequence[bool]], None]


def answer_each(
    searcher: Searcher, requests: Sequence[Asked], watch: Watch, *, threads: int = 1
) -> list[Answer | TridentError]:
    """Return the answer to each request of a batch, or why it has none: a bad request fails no other.

    Args are those of ``answer_together``.
    """
    try:
        return [*answer_together(searcher, requests, watch, threads=threads)]
    except StoreAwayError as error:  # nobody waits for it a second time
        return [error] * len(requests)
    except TridentError as error:
        if len(requests) > 1:
            return [each for asked in requests for each in answer_each(searcher, [asked], watch, threads=threads)]
        return [error]


def answer_together(searcher: Searcher, requests: Sequence[Asked], watch: Watch, *, threads: int = 1) -> list[Answer]:
    """Return the answer to each request.

    Args:
        searcher: The parts of one generation.
        requests: Of a batch, checked.
        watch: Called where something was searched.
        threads: Of the search in the index.

    Raises:
        ModelError: If the encoder cannot run.
    """
    if not requests:  # all were rejected
        return []
    with measured(is_asked=is_timed(knob for asked in requests for knob in asked.knobs)) as times:
        return _answers(searcher, requests, watch, threads, times)


def _answers(
    searcher: Searcher, requests: Sequence[Asked], watch: Watch, threads: int, times: StageTimes | None
) -> list[Answer]:
    second = searcher.second_stage
    since = None if second is None else second.reranker.now()  # budgets count from here
    ends = np.cumsum([len(asked.texts) for asked in requests]).tolist()
    places = [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    spelled = searcher.retriever.spelled
    with stage("spelling"):
        requests = [
            replace(asked, knobs=spelled(asked.knobs, of_base=not asked.is_live)) if asked.wants_products else asked
            for asked in requests
        ]
    embeddings = _embedded(searcher, [text for asked in requests for text in _meant(searcher, asked)])  # (B, D)
    searched = [row for row, asked in enumerate(requests) if asked.wants_products]
    found: dict[int, Hits] = {}
    if searched:
        joined = np.concatenate([embeddings[places[row]] for row in searched])  # (S, D)
        knobs = [knob for row in searched for knob in requests[row].knobs]
        of_base = [not requests[row].is_live for row in searched for _ in requests[row].knobs]
        wide = knobs if second is None else second.widened(knobs)
        hits = searcher.retriever.retrieve(joined, wide, threads=threads, of_base=of_base)
        if second is not None:
            queries = [text for row in searched for text, _ in requests[row].texts]
            with stage("rerank"):
                hits = second.reranked(queries, knobs, hits, since=since, whole=of_base)
        watch(joined, knobs, hits, [not each for each in of_base])
        hits = timed(hits, knobs, times)
        start = 0
        for row in searched:
            wanted = requests[row].knobs
            found[row] = hits.rows(start, start + len(wanted), max(knob.k for knob in wanted))
            start += len(wanted)
    return [Answer(embeddings[place], found.get(row)) for row, place in enumerate(places)]


def _meant(searcher: Searcher, asked: Asked) -> list[tuple[str, Side]]:
    """Return the texts that are embedded: where products are wanted, with the words that were meant."""
    if not asked.wants_products or all(knob.corrected is None for knob in asked.knobs):
        return asked.texts
    meant = map(searcher.retriever.text_for_vectors, asked.knobs)
    return [(text, side) for text, (_, side) in zip(meant, asked.texts, strict=True)]


def _embedded(searcher: Searcher, texts: Sequence[tuple[str, Side]]) -> NDArray[np.float32]:
    """Return the embeddings (B, D) of texts; where there is no text, any: nobody looks at it."""
    there = [row for row, (text, _) in enumerate(texts) if text.strip()]
    if len(there) == len(texts):
        return searcher.embed_each(texts)
    embeddings = np.zeros((len(texts), searcher.retriever.dimension), dtype=np.float32)
    embeddings[:, 0] = 1.0
    if there:
        embeddings[there] = searcher.embed_each([texts[row] for row in there])
    return embeddings
