"""What a student learns of a teacher: its logits for judged pairs, mined ones, and candidates of made queries.

Source: Hofstätter et al. 2020 for the margins; made queries because distillation pays where the teacher judges far more
pairs than people did (measured by others, named in docs/log/reranking.md).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query
from trident.encoder.base_model import find_model, weights_fingerprint
from trident.encoder.text import TextContract
from trident.errors import ModelError
from trident_train.data.splits import query_hash
from trident_train.recipe import TrainRecipe
from trident_train.reranker.model import CrossEncoder, load_classifier

WORDS = (2, 3, 4)  # of a made query


def load_teacher(run: Path, recipe: TrainRecipe, base_fingerprint: str) -> CrossEncoder:
    """Return the reranker of a run folder, in evaluation mode.

    Args:
        run: Made by ``stage = "reranker"``.
        recipe: Of that run.
        base_fingerprint: Of the base model that it was trained on.

    Raises:
        ModelError: If it is no reranker's, or its base model is another now.
    """
    if recipe.stage != "reranker":
        raise ModelError(f"reranker.teacher must be the run of a reranker, got that of an {recipe.stage} ({run})")
    contract = TextContract.load(run)
    if (run / "model").is_dir():
        model = load_classifier(run / "model")
        return CrossEncoder(model.eval(), CrossEncoder.load(run / "model", contract).tokenizer)
    base = find_model(recipe.base_model)
    if (found := weights_fingerprint(base)) != base_fingerprint:
        raise ModelError(
            f"the teacher {run} belongs to weights {base_fingerprint[:12]}, but {recipe.base_model} has {found[:12]}: "
            "install the base model it was trained on"
        )
    plain = CrossEncoder.load(base, contract, layers=recipe.reranker.layers)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        adapted = PeftModel.from_pretrained(plain.model, str(run / "adapter"))
    return CrossEncoder(adapted.eval(), plain.tokenizer)


def made_pairs(catalogue: Catalogue, train: Pairs, held_out: set[str], count: int) -> Pairs:
    """Return pairs of made queries and the product that each was made of, as if it were the relevant one.

    A query is the first two to four words of a title. Those that people asked, in whichever split, are left out.

    Args:
        catalogue: Whose products are taken, in an order by their hashes.
        train: The train split.
        held_out: Normalised queries of the other splits.
        count: Queries at most.
    """
    known = held_out | {normalized_query(query) for query in train.queries}
    order = sorted(range(len(catalogue)), key=lambda row: query_hash(catalogue.product_ids[row], "made:"))
    queries: dict[str, int] = {}
    for size in WORDS:
        for row in order:
            query = " ".join(catalogue.titles[row].split()[:size]).strip(" .,;:-")
            if query and normalized_query(query) not in known and query not in queries:
                queries[query] = row
            if len(queries) == count:
                break
        if len(queries) == count:
            break
    rows = list(queries.values())
    ones = np.ones(len(rows))
    return Pairs(
        queries=list(queries),
        titles=[catalogue.titles[row] for row in rows],
        labels=ones.astype(np.int8),
        grades=ones.astype(np.float32),
        product_ids=[catalogue.product_ids[row] for row in rows],
    )


def with_made(train: Pairs, made: Pairs) -> Pairs:
    """Return both, the train split first."""
    return Pairs(
        queries=train.queries + made.queries,
        titles=train.titles + made.titles,
        labels=np.concatenate([train.labels, made.labels]),
        grades=np.concatenate([train.grades, made.grades]),
        product_ids=train.product_ids + made.product_ids,
    )


def teacher_logits(teacher: CrossEncoder, pairs: Pairs, mined: list[tuple[int, str]]) -> NDArray[np.float32]:
    """Return the teacher's logits (P + mined,) of pairs and of what was mined for them."""
    queries = pairs.queries + [pairs.queries[row] for row, _ in mined]
    return teacher.score(queries, pairs.titles + [title for _, title in mined])
