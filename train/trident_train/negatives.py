"""Hard negatives mined from the catalogue with the project's own HNSW index."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trident.catalogue import Catalogue
from trident.index import IndexConfig, VectorIndex
from trident.pairs import Pairs, normalized_query
from trident_train.encoder import Encoder
from trident_train.recipe import NegativesRecipe

MOST_MINED = 500_000  # of all queries together: each is a row of the train split while the run lasts


def mine_negatives(
    pairs: Pairs,
    catalogue: Catalogue,
    encoder: Encoder,
    recipe: NegativesRecipe,
    *,
    most: int = MOST_MINED,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[int, str]]:
    """Return (row of the query's first relevant pair, title) for each product found for a query with relevant products.

    Products are taken from ``from_rank`` to ``to_rank`` of the query's neighbours; judged ones, and titles equal to a
    judged one, are left out. Where these are more than ``most`` each query keeps as many, spread evenly over its ranks.

    Args:
        pairs: The train split.
        catalogue: What is searched.
        encoder: Makes the embeddings; the pretrained one.
        recipe: Which ranks.
        most: Products of all queries together.
        progress: Called with the number of texts embedded.

    Source: hard negatives from an index as in Xiong et al. 2020 (ANCE), section 3; the distance kept from the top as in
    Qu et al. 2021 (RocketQA), section 3.2, by rank instead of by a cross-encoder.
    """
    judged: dict[str, set[str]] = {}
    first_relevant: dict[str, int] = {}
    for row, (query, title, label) in enumerate(zip(pairs.queries, pairs.titles, pairs.labels.tolist(), strict=True)):
        judged.setdefault(normalized_query(query), set()).add(title)
        if label == 1:
            first_relevant.setdefault(normalized_query(query), row)
    vectors = encoder.embed(catalogue.titles, "product", progress=progress)  # (N, D)
    index = VectorIndex.build(
        vectors, config=IndexConfig(m=16, ef_construction=200, ef=recipe.to_rank), encoder_fingerprint="mining"
    )
    rows = list(first_relevant.values())
    queries = encoder.embed([pairs.queries[row] for row in rows], "query", progress=progress)  # (Q, D)
    depth = min(recipe.to_rank, len(catalogue))
    found = index.search(queries, depth)
    of_each = max(1, most // max(1, len(rows)))
    mined = []
    for row, neighbours in zip(rows, found.rows, strict=True):
        known = judged[normalized_query(pairs.queries[row])]
        near = [
            catalogue.titles[neighbour] for neighbour in neighbours[recipe.from_rank - 1 :].tolist() if neighbour >= 0
        ]
        titles = [title for title in near if title not in known]
        kept = np.linspace(0, len(titles) - 1, min(of_each, len(titles))).round().astype(int).tolist()
        mined += [(row, titles[place]) for place in kept]
    return mined
