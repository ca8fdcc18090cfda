"""Scores of an encoder on the validation split; what chooses the weights that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trident.data.catalogue import Catalogue
from trident_train.data.sources import Source
from trident_train.judge.evaluate import rank_encoder
from trident_train.model.encoder import Encoder
from trident_train.recipe import SelectionRecipe

CATALOGUE_PRODUCTS = 3000  # that stand for the catalogue, judged ones included


@dataclass(frozen=True, kw_only=True)
class Score:
    """``value`` says how good; names of ``metrics`` start with their source's if it has one."""

    value: float
    metrics: dict[str, float]


def validation_score(encoder: Encoder, sources: Sequence[Source], recipe: SelectionRecipe) -> Score:
    """Return the score of an encoder on the validation splits: the mean over sources of the mean over metrics.

    Args:
        encoder: Judged as it is.
        sources: Their validation splits; one without a catalogue is scored by the other metrics.
        recipe: Which metrics.
    """
    metrics: dict[str, float] = {}
    means = []
    for source in sources:
        catalogue = None
        if recipe.ranks_catalogue() and source.catalogue is not None:
            catalogue = _part_of(source.catalogue, source.parts.validation.product_ids, CATALOGUE_PRODUCTS)
        pairs = source.parts.validation
        row = rank_encoder(encoder, pairs, catalogue).row("validation", pairs, catalogue)
        found: dict[str, float] = {
            "roc_auc": row.judged.roc_auc.value,
            "ndcg_at_10": row.judged.ndcg_at_10,
            "mrr_at_10": row.judged.mrr_at_10,
        }
        if row.catalogue is not None:
            found["catalogue_ndcg_at_10"] = row.catalogue.ndcg_at_10
            found["catalogue_recall_at_100"] = row.catalogue.recall_at_100
        chosen = {name: found[name] for name in recipe.metrics if name in found}
        means.append(float(np.mean(list(chosen.values()))))
        prefix = f"{source.name}/" if source.name else ""
        metrics |= {prefix + name: value for name, value in chosen.items()}
    return Score(value=float(np.mean(means)), metrics=metrics)


def _part_of(catalogue: Catalogue, judged: list[str], size: int) -> Catalogue:
    wanted = set(judged)
    kept = [row for row, product_id in enumerate(catalogue.product_ids) if product_id in wanted]
    others = [row for row, product_id in enumerate(catalogue.product_ids) if product_id not in wanted]
    count = min(max(size - len(kept), 0), len(others))
    drawn = np.random.default_rng(0).permutation(len(others))[:count]
    rows = sorted([*kept, *(others[place] for place in drawn.tolist())])
    return Catalogue(
        product_ids=[catalogue.product_ids[row] for row in rows],
        titles=[catalogue.titles[row] for row in rows],
        attributes=catalogue.attributes.take(rows),
    )
