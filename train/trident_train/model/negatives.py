"""Hard negatives mined from the catalogue with the project's own index."""

from __future__ import annotations

import numpy as np

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query
from trident.index.index import IndexConfig, VectorIndex
from trident_train.model.encoder import Encoder
from trident_train.recipe import NegativesRecipe

MOST_MINED = 500_000  # of all queries together: each is a row of the train split while the run lasts


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

        Products are taken from ``from_rank`` to ``to_rank`` of the query's neighbours; judged ones, and titles equal to
        a judged one, are left out. Where these are more than ``most`` each query keeps as many, spread evenly over its
        ranks.

        Args:
            pairs: The train split.
            recipe: Which ranks.
            most: Products of all queries together.

        Source: hard negatives from an index as in Xiong et al. 2020 (ANCE), section 3; the distance kept from the top
        as in Qu et al. 2021 (RocketQA), section 3.2, by rank instead of by a cross-encoder.
        """
        judged: dict[str, set[str]] = {}
        first_relevant: dict[str, int] = {}
        labelled = zip(pairs.queries, pairs.titles, pairs.labels.tolist(), strict=True)
        for row, (query, title, label) in enumerate(labelled):
            judged.setdefault(normalized_query(query), set()).add(title)
            if label == 1:
                first_relevant.setdefault(normalized_query(query), row)
        rows, titles = list(first_relevant.values()), self._catalogue.titles
        queries = self._encoder.embed([pairs.queries[row] for row in rows], "query")  # (Q, D)
        found = self._index.search(queries, min(recipe.to_rank, len(titles)), ef=recipe.to_rank)
        of_each = max(1, most // max(1, len(rows)))
        mined = []
        for row, neighbours in zip(rows, found.rows, strict=True):
            known = judged[normalized_query(pairs.queries[row])]
            near = [titles[neighbour] for neighbour in neighbours[recipe.from_rank - 1 :].tolist() if neighbour >= 0]
            unjudged = [title for title in near if title not in known]
            kept = np.linspace(0, len(unjudged) - 1, min(of_each, len(unjudged))).round().astype(int).tolist()
            mined += [(row, unjudged[place]) for place in kept]
        return mined
