"""Hard negatives mined from the catalogue with the project's own index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query
from trident.index.index import IndexConfig, VectorIndex
from trident_train.model.encoder import Encoder
from trident_train.recipe import NegativesRecipe

MOST_MINED = 500_000  # of all queries together: each is a row of the train split while the run lasts


@dataclass
class JudgedQuery:
    """What people judged for one query: a product is known by its id, and by its title."""

    product_ids: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)

    def unjudged(self, found: Sequence[tuple[str, str]], start: int) -> list[str]:
        """Return the titles of found products, (id, title) best first, that nobody judged, from a place on.

        A pair's title may be another than the catalogue's, and several ids may have one title.
        """
        titles = self.titles | {title for product_id, title in found if product_id in self.product_ids}
        return [title for _, title in found[start:] if title not in titles]


def judged_queries(pairs: Pairs) -> dict[int, JudgedQuery]:
    """Return what was judged for each query that has a relevant product, by the row of its first relevant pair."""
    judged: dict[str, JudgedQuery] = {}
    first_relevant: dict[str, int] = {}
    columns = zip(pairs.queries, pairs.product_ids, pairs.titles, pairs.labels.tolist(), strict=True)
    for row, (query, product_id, title, label) in enumerate(columns):
        name = normalized_query(query)
        own = judged.setdefault(name, JudgedQuery())
        own.product_ids.add(product_id)
        own.titles.add(title)
        if label == 1:
            first_relevant.setdefault(name, row)
    return {row: judged[name] for name, row in first_relevant.items()}


def thinned_out(mined: Iterable[tuple[int, Sequence[str]]], queries: int, most: int) -> list[tuple[int, str]]:
    """Return (row, title) of the titles mined for each row; where they may be more than ``most``, spread evenly."""
    of_each = max(1, most // max(1, queries))
    kept: list[tuple[int, str]] = []
    for row, titles in mined:
        places = np.linspace(0, len(titles) - 1, min(of_each, len(titles))).round().astype(int).tolist()
        kept += [(row, titles[place]) for place in places]
    return kept


class NegativeMiner:
    """Finds negatives in one catalogue, which is embedded and indexed once.

    Args:
        catalogue: What is searched.
        encoder: Makes the embeddings; the pretrained one.
    """

    def __init__(self, catalogue: Catalogue, encoder: Encoder) -> None:
        """Embed the catalogue and build the index; see the class for the arguments."""
        self._catalogue, self._encoder = catalogue, encoder
        vectors = encoder.embed(catalogue.titles, "product")  # (N, D)
        config = IndexConfig(m=16, ef_construction=200)
        self._index = VectorIndex.build(vectors, config=config, encoder_fingerprint="mining")

    def mine(self, pairs: Pairs, recipe: NegativesRecipe, *, most: int = MOST_MINED) -> list[tuple[int, str]]:
        """Return (row of the query's first relevant pair, title) for the products of each query with relevant ones.

        Products are taken from ``from_rank`` to ``to_rank`` of the query's neighbours; judged ones, by id or title, are
        left out. Where these are more than ``most`` each query keeps as many, spread evenly over its ranks.

        Args:
            pairs: The train split.
            recipe: Which ranks.
            most: Products of all queries together.

        Source: hard negatives from an index as in Xiong et al. 2020 (ANCE), section 3; the distance kept from the top
        as in Qu et al. 2021 (RocketQA), section 3.2, by rank instead of by a cross-encoder.
        """
        judged = judged_queries(pairs)
        ids, titles = self._catalogue.product_ids, self._catalogue.titles
        queries = self._encoder.embed([pairs.queries[row] for row in judged], "query")  # (Q, D)
        found = self._index.search(queries, min(recipe.to_rank, len(titles)), ef=recipe.to_rank)
        start = recipe.from_rank - 1
        mined = (
            (row, own.unjudged([(ids[near], titles[near]) for near in neighbours.tolist() if near >= 0], start))
            for (row, own), neighbours in zip(judged.items(), found.rows, strict=True)
        )
        return thinned_out(mined, len(judged), most)
