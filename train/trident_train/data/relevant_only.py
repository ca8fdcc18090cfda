"""Pairs that are all relevant, as clicks are: others are drawn for the held-out queries, so that they can be ranked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError

OTHERS = 50  # products drawn for a query


def is_relevant_only(pairs: Pairs) -> bool:
    """Return whether every pair is relevant."""
    return bool(pairs.labels.all())


def products_of(pairs: Pairs, catalogue: Catalogue | None) -> dict[str, str]:
    """Return the title of each product that can be drawn: of catalogue and pairs, as the pairs have it."""
    others = {} if catalogue is None else dict(zip(catalogue.product_ids, catalogue.titles, strict=True))
    return others | dict(zip(pairs.product_ids, pairs.titles, strict=True))


def with_others(pairs: Pairs, products: Mapping[str, str], source: str) -> Pairs:
    """Return relevant pairs with up to ``OTHERS`` products drawn for each query (seeded), which count as irrelevant.

    Measures then say how high the relevant products stand among as many others, some of which may be relevant too.

    Args:
        pairs: Relevant pairs.
        products: Titles by id.
        source: What errors call the data.

    Raises:
        DataError: If there is no other product to draw.

    Source: He et al. 2017, Neural collaborative filtering, section 4.1: each held-out item among others, drawn.
    """
    wanted: dict[str, set[str]] = {}
    spelling: dict[str, int] = {}
    for row, (query, product_id) in enumerate(zip(pairs.queries, pairs.product_ids, strict=True)):
        name = normalized_query(query)
        wanted.setdefault(name, set()).add(product_id)
        spelling.setdefault(name, row)
    ids = list(products)
    generator = np.random.default_rng(0)
    rows, drawn = [], []
    for name, relevant in wanted.items():
        relevant_titles = {pairs.titles[spelling[name]], *(products[each] for each in relevant if each in products)}
        size = 2 * (OTHERS + len(relevant))
        if size < len(ids) // 2:
            places = list(dict.fromkeys(generator.integers(0, len(ids), size).tolist()))
        else:
            places = generator.permutation(len(ids)).tolist()
        others = [ids[place] for place in places]
        others = [each for each in others if each not in relevant and products[each] not in relevant_titles][:OTHERS]
        rows += [spelling[name]] * len(others)
        drawn += others
    if not drawn:
        raise DataError(
            f"pairs that are all relevant are judged by ranking them among other products, got none that is not "
            f"relevant to the same query in {source}: give a catalogue, or irrelevant pairs"
        )
    more = pairs.take(rows)
    return Pairs(
        queries=pairs.queries + more.queries,
        titles=pairs.titles + [products[each] for each in drawn],
        labels=np.concatenate([pairs.labels, np.zeros(len(drawn), dtype=np.int8)]),
        grades=np.concatenate([pairs.grades, np.zeros(len(drawn), dtype=np.float32)]),
        product_ids=pairs.product_ids + drawn,
        splits=None if pairs.splits is None or more.splits is None else pairs.splits + more.splits,
    )
