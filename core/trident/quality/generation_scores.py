"""What a generation gives as it is served, for judging: scores of pairs, products of queries, and the exact ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.pairs import Pairs, normalized_query, read_pairs
from trident.encoder.encoder import OnnxEncoder
from trident.encoder.text import Side
from trident.generation.generation import TEST_PAIRS_FILE, Generation
from trident.generation.golden import GOLDEN_K
from trident.index.index import VectorIndex
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher


@dataclass(frozen=True, eq=False)
class LoadedGeneration:
    """A generation with everything that judging it needs; ``load`` one.

    Attributes:
        generation: Which.
        searcher: What is served here.
        by_graph: What is served where the kernels cannot run it: the same by the graph; ``searcher`` if that is by it.
        fp32: The float32 graph.
        catalogue: Rows of the index.
    """

    generation: Generation
    searcher: Searcher
    by_graph: Searcher
    fp32: OnnxEncoder
    catalogue: Catalogue

    @classmethod
    def load(cls, generation: Generation, *, threads: int) -> LoadedGeneration:
        """Return a generation that can be judged.

        Raises:
            TridentError: If a part is missing, damaged or of another encoder.
        """
        searcher = Searcher.load(generation, threads=threads)
        if isinstance(searcher.encoder, OnnxEncoder):
            by_graph, graph = searcher, searcher.encoder
        else:
            graph = graph_encoder(generation, threads=threads)
            by_graph = replace(searcher, encoder=graph)
        served = generation.served_precision == "fp32"
        fp32 = graph if served else graph_encoder(generation, threads=threads, precision="fp32")
        catalogue = Catalogue.load(generation.version_folder("retriever") / CATALOGUE_FILE)
        return cls(generation, searcher, by_graph, fp32, catalogue)

    @property
    def ways(self) -> tuple[Searcher, ...]:
        """What is served here, and what is served elsewhere if that is something else."""
        return (self.searcher,) if self.by_graph is self.searcher else (self.searcher, self.by_graph)

    @property
    def index(self) -> VectorIndex:
        """The index."""
        return self.searcher.retriever.index

    @property
    def k(self) -> int:
        """How many products are looked at: ten, or all where there are fewer."""
        return min(GOLDEN_K, self.index.count)

    def test_pairs(self) -> Pairs:
        """Return the held-out pairs of the run.

        Raises:
            DataError: If the file is missing or damaged.
        """
        return read_pairs(self.generation.folder / TEST_PAIRS_FILE)

    def embed_fp32(self, texts: Sequence[str], side: Side) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of N raw texts by the float32 graph."""
        tokenizer = self.searcher.tokenizer
        return self.fp32.embed_ids(tokenizer.token_ids(texts, side), pad_id=tokenizer.pad_id)

    def pair_scores(self, pairs: Pairs) -> NDArray[np.float32]:
        """Return the cosine (P,) of each pair as it is served: the query by the served graph, the product by float32.

        A title that stands in the catalogue has the vector that the index has for it.
        """
        queries, titles = list(dict.fromkeys(pairs.queries)), list(dict.fromkeys(pairs.titles))
        row_of_title = self.catalogue.texts[1].rows_of(titles)
        stored = np.array([row_of_title.get(title, -1) for title in titles])  # (T,)
        title_vectors = np.empty((len(titles), self.index.dimension), dtype=np.float32)
        title_vectors[stored >= 0] = self.index.vectors(stored[stored >= 0])
        others = [title for title, row in zip(titles, stored.tolist(), strict=True) if row < 0]
        title_vectors[stored < 0] = self.embed_fp32(others, "product")
        query_row = {query: row for row, query in enumerate(queries)}
        title_row = {title: row for row, title in enumerate(titles)}
        scores: NDArray[np.float32] = np.einsum(
            "pd,pd->p",
            self.searcher.embed(queries)[[query_row[query] for query in pairs.queries]],
            title_vectors[[title_row[title] for title in pairs.titles]],
        )
        return scores

    def hits(self, queries: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
        """Return the best products of each query, as they are served; see ``ranked_hits``."""
        return ranked_hits(self.searcher, queries, self.k)

    def cosines(self, queries: Sequence[str]) -> dict[str, list[tuple[str, float]]]:
        """Return (product id, cosine) of the best products of each query, as the first stage serves them."""
        found = self.searcher.search(queries, [SearchKnobs(k=self.k, rerank=0)] * len(queries))
        return {
            query: [
                (product.decode(), float(score))
                for product, score in zip(found.product_ids[line], found.scores[line], strict=True)
                if product
            ]
            for line, query in enumerate(queries)
        }


def ranked_hits(searcher: Searcher, queries: Sequence[str], k: int) -> dict[str, list[tuple[str, float]]]:
    """Return (product id, minus its place) of the best products of each query, as they are served."""
    found = searcher.search(queries, [SearchKnobs(k=k)] * len(queries))
    return {
        query: [(each.decode(), -float(place)) for place, each in enumerate(found.product_ids[line].tolist()) if each]
        for line, query in enumerate(queries)
    }


def distinct_queries(pairs: Pairs, most: int) -> list[str]:
    """Return distinct queries of pairs, at most so many, spread evenly over the file."""
    queries = list(dict.fromkeys(pairs.queries))
    rows = np.linspace(0, len(queries) - 1, min(most, len(queries))).astype(np.int64)
    return [queries[row] for row in rows.tolist()]


def pairs_of(pairs: Pairs, queries: Sequence[str]) -> Pairs:
    """Return the pairs of some queries, however they are spelt."""
    wanted = {normalized_query(query) for query in queries}
    return pairs.take(row for row, query in enumerate(pairs.queries) if normalized_query(query) in wanted)


def united(first: Pairs, second: Pairs) -> Pairs:
    """Return the pairs of both; what both judge counts as the first has it."""
    known = set(zip(map(normalized_query, first.queries), first.product_ids, strict=True))
    rows = [
        row
        for row, (query, product) in enumerate(zip(second.queries, second.product_ids, strict=True))
        if (normalized_query(query), product) not in known
    ]
    more = second.take(rows)
    return Pairs(
        queries=first.queries + more.queries,
        titles=first.titles + more.titles,
        labels=np.concatenate([first.labels, more.labels]),
        grades=np.concatenate([first.grades, more.grades]),
        product_ids=first.product_ids + more.product_ids,
    )


def graph_encoder(generation: Generation, *, threads: int, precision: str | None = None) -> OnnxEncoder:
    """Return the graph of a generation that a CPU runs; ``precision`` None: of the one that is served."""
    fingerprint = generation.manifest.encoder_fingerprint
    return OnnxEncoder.load(generation.cpu_graph(precision), threads=threads, encoder_fingerprint=fingerprint)
