"""What a student learns of a teacher: its logits for judged pairs, mined ones, and candidates of made queries.

A student is a smaller reranker, or an encoder. The teacher is asked once, before training, for the pairs that the
batches of all epochs will hold, and for no others.

Source: Hofstätter et al. 2020 for the margins; made queries because distillation pays where the teacher judges far more
pairs than people did (measured by others, named in docs/log/reranking.md).
"""

from __future__ import annotations

import hashlib
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs, normalized_query, query_hash
from trident.encoder.base_model import file_sha256, find_model, weights_fingerprint
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.encoder.weights import require_whole
from trident.errors import DataError, ModelError
from trident_train.loop.batches import TokenizedPairs, plan_epoch, tokenize_pairs
from trident_train.processes import share_of
from trident_train.recipe import TrainRecipe
from trident_train.reranker.model import CrossEncoder, load_classifier

WORDS = (2, 3, 4)  # of a made query
SAID_EVERY_S = 30.0

logger = logging.getLogger(__name__)


@dataclass
class Teacher:
    """A reranker whose logits are learnt; ``fingerprint`` is that of everything its logits depend on."""

    reranker: CrossEncoder | None  # gone once it was asked
    fingerprint: str


@dataclass(frozen=True)
class Lesson:
    """The train split of a source as a student sees it.

    Attributes:
        pairs: Judged ones, and behind them those of made queries.
        made: How many are of made queries.
        mined: (row of a pair, title): unjudged candidates of that pair's query.
        repeat: Times that the source stands in an epoch.
    """

    pairs: Pairs
    made: int = 0
    mined: Sequence[tuple[int, str]] = ()
    repeat: int = 1

    def tokenized(self, tokenizer: TextTokenizer) -> TokenizedPairs:
        """Return the pairs and what was mined as token ids."""
        return tokenize_pairs(self.pairs, tokenizer, mined=self.mined, repeat=self.repeat, made=self.made)


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
    require_whole(run / "adapter" / "adapter_model.safetensors")
    plain = CrossEncoder.load(base, contract, layers=recipe.reranker.layers)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        adapted = PeftModel.from_pretrained(plain.model, str(run / "adapter"))
    return CrossEncoder(adapted.eval(), plain.tokenizer)


def made_pairs(catalogue: Catalogue, asked: set[str], count: int) -> Pairs:
    """Return pairs of made queries and the product that each was made of, as if it were the relevant one.

    A query is the first two to four words of a title.

    Args:
        catalogue: Whose products are taken, in an order by their hashes.
        asked: Normalised queries that people asked, of every split of every source: they are left out.
        count: Queries at most.
    """
    order = sorted(range(len(catalogue)), key=lambda row: query_hash(catalogue.product_ids[row], "made:"))
    queries: dict[str, int] = {}
    for size in WORDS:
        for row in order:
            query = " ".join(catalogue.titles[row].split()[:size]).strip(" .,;:-")
            if query and normalized_query(query) not in asked and query not in queries:
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


def run_fingerprint(run: Path, base_fingerprint: str) -> str:
    """Return the SHA-256 of a run's text contract, weights and base model, hexadecimal."""
    saved = run / "model" if (run / "model").is_dir() else run / "adapter"
    digest = hashlib.sha256(base_fingerprint.encode())
    for path in [run / "text.json", *sorted([*saved.glob("*.json"), *saved.glob("*.safetensors")])]:
        digest.update(file_sha256(path).encode())
    return digest.hexdigest()


def require_unseen(run: Path, trained: NDArray[np.uint64], held_out: Sequence[str]) -> None:
    """Refuse a teacher that was trained on queries which its student is judged by: it would pass on their labels.

    Args:
        run: Of the teacher.
        trained: Hashes of the queries that it was trained on.
        held_out: Queries of the student's validation and test splits.

    Raises:
        DataError: With how many there are, and one of them.
    """
    names = np.array(sorted({normalized_query(query) for query in held_out}), dtype=object)
    hashes = np.array([query_hash(name) for name in names], dtype=np.uint64)
    seen = names[np.isin(hashes, trained)]
    if len(seen):
        raise DataError(
            f"the teacher must hold out the queries that its student is judged by, got {len(seen)} that {run} was "
            f"trained on, such as '{seen[0]}': train both on the same data, shares and split_seed"
        )


def learn(
    sources: Sequence[TokenizedPairs],
    lessons: Sequence[Lesson],
    teacher: Teacher,
    recipe: TrainRecipe,
    tell: Callable[[str], None] = lambda _: None,
) -> list[TokenizedPairs]:
    """Return the tokenised lessons, their grades the teacher's logits; those that no batch will hold are NaN.

    Args:
        sources: The lessons as the student reads them.
        lessons: Their texts.
        teacher: Who is asked.
        recipe: Of the student: which pairs its batches hold.
        tell: Called with how far that is.
    """
    reranker, teacher.reranker = teacher.reranker, None
    assert reranker is not None
    asked = _planned(sources, recipe)
    total, done = sum(map(len, asked)), 0
    began = said = time.monotonic()
    _, processes = share_of(reranker.accelerator)

    def progress(pairs: int) -> None:
        nonlocal done, said
        done = min(done + pairs * processes, total)
        line = f"asking the teacher: {done:,} of {total:,} pairs"
        tell(line)
        if (now := time.monotonic()) - said > SAID_EVERY_S:
            said = now
            logger.info("%s", line)

    taught = []
    for pairs, lesson, rows in zip(sources, lessons, asked, strict=True):
        queries = lesson.pairs.queries + [lesson.pairs.queries[row] for row, _ in lesson.mined]
        titles = lesson.pairs.titles + [title for _, title in lesson.mined]
        logits = np.full(len(queries), np.nan, dtype=np.float32)  # (P + mined,)
        numbers = rows.tolist()
        logits[rows] = reranker.score(
            [queries[row] for row in numbers], [titles[row] for row in numbers], progress=progress
        )
        taught.append(replace(pairs, grades=logits))
    logger.info("the teacher scored %s pairs in %.0f s", f"{total:,}", time.monotonic() - began)
    return taught


def _planned(sources: Sequence[TokenizedPairs], recipe: TrainRecipe) -> list[NDArray[np.int64]]:
    """Return the rows of each source that the batches of some epoch hold, ascending."""
    rows: list[set[int]] = [set() for _ in sources]
    for epoch in range(1, recipe.optimizer.epochs + 1):
        mined = recipe.negatives.mined
        plans = plan_epoch(sources, recipe.loss, recipe.optimizer, seed=recipe.seed, epoch=epoch, mined=mined)
        for plan in plans:
            rows[plan.source].update(plan.pairs)
    return [np.array(sorted(each), dtype=np.int64) for each in rows]
