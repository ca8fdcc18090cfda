"""Judges a graph of lower precision by what matters: the products it finds and how well it ranks, against float32."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer, TokenBatch
from trident.errors import ExportError, ModelError
from trident.index.exact_search import exact_search
from trident.quality.measuring import pair_scores
from trident.quality.paired import QualityChange, quality_change
from trident_export.judge.parity import Expected, ProbeTexts

K = 10
ASKED_FIRST = 256  # queries; more are asked only where these leave open on which side of its target the overlap is
Z_99 = 2.576  # of the normal distribution
SPEED_SHAPES = ((1, 8), (32, 16))  # rows, most tokens: a lone query, and a busy server's batch of mixed lengths
SPEED_SHORTEST = 4  # tokens
SPEED_SECONDS = 0.15  # of measuring, a graph and shape, at most
SPEED_RUNS = 50  # at most: more move the median of a small model's runs no further


@dataclass(frozen=True, kw_only=True)
class PrecisionProof:
    """What a graph of lower precision was held against; figures are None where the graph did not come that far."""

    precision: str
    shipped: bool
    reason: str = ""  # why it is not shipped
    smallest_cosine: float | None = None  # to float32, over probes and real texts
    overlap_at_10: float | None = None  # with float32's products, mean over queries
    overlap_queries: int | None = None  # so many
    change: QualityChange | None = None  # against float32, over the held-out pairs

    def line(self) -> str:
        """Return the proof in one line."""
        if self.change is None or self.overlap_at_10 is None:
            return f"not shipped: {self.reason}"
        ndcg, auc = self.change.ndcg_at_10, self.change.roc_auc
        found = (
            f"cosine >= {self.smallest_cosine:.5f}, "
            f"overlap@{K} {self.overlap_at_10:.4f} over {self.overlap_queries} queries, "
            f"NDCG@10 {ndcg.value:+.4f} [{ndcg.low:+.4f}, {ndcg.high:+.4f}], "
            f"ROC-AUC {auc.value:+.4f} [{auc.low:+.4f}, {auc.high:+.4f}]"
        )
        return found if self.shipped else f"not shipped: {self.reason}; {found}"


class Reference:
    """What float32 finds for the held-out queries.

    Args:
        encoder: The float32 graph.
        tokenizer: Of the same export.
        pairs: The held-out pairs.
        queries: Distinct, asked of the whole catalogue.
        vectors: (N, D) float32 embeddings of the catalogue.
    """

    def __init__(
        self,
        encoder: ServedEncoder,
        tokenizer: TextTokenizer,
        pairs: Pairs,
        queries: list[str],
        vectors: NDArray[np.float32],
    ) -> None:
        """Ask float32."""
        self.expected, self.tokenizer, self.pairs, self.vectors = (
            Expected(encoder.embed, "float32"), tokenizer, pairs, vectors,
        )  # fmt: skip
        rows = tokenizer.token_ids(queries, "query")
        self.rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows)).tolist()]
        self.scores = pair_scores(pairs, encoder, tokenizer)
        self._encoder = encoder
        self._found: dict[tuple[int, int], NDArray[np.int64]] = {}

    def overlap(self, encoder: ServedEncoder, target: float) -> list[float]:
        """Return which share of the K best products an encoder finds, for as many queries as decide about a target."""
        shares: list[float] = []
        while len(shares) < len(self.rows) and not decides(shares, target):
            start, end = len(shares), min(len(self.rows), len(shares) + max(ASKED_FIRST, len(shares)))
            if (start, end) not in self._found:
                self._found[start, end] = self._best(self._encoder, start, end)
            pairs = zip(self._best(encoder, start, end), self._found[start, end], strict=True)
            shares += [len(set(one) & set(other)) / len(one) for one, other in pairs]
        return shares

    def _best(self, encoder: ServedEncoder, start: int, end: int) -> NDArray[np.int64]:
        """Return the best products (Q, K) by exact search for some queries as an encoder embeds them."""
        queries = encoder.embed_ids(self.rows[start:end], pad_id=self.tokenizer.pad_id)  # (Q, D)
        return exact_search(self.vectors, queries, min(K, len(self.vectors))).rows


def decides(shares: Sequence[float], target: float) -> bool:
    """Return whether a mean is on one side of a target, by its interval of 99%."""
    if len(shares) < ASKED_FIRST:
        return False
    margin = Z_99 * float(np.std(shares, ddof=1)) / math.sqrt(len(shares))
    return abs(float(np.mean(shares)) - target) > margin


def judge_precision(
    name: str,
    make: Callable[[], Path],
    reference: Reference,
    *,
    load: Callable[[Path], ServedEncoder],
    overlap_target: float,
) -> PrecisionProof:
    """Return the proof of a graph of lower precision, or why it is not shipped.

    Queries are embedded by the graph, products by float32, as they are served; judged pairs by the graph on both sides.

    Args:
        name: Of the precision.
        make: Writes the graph and returns its file.
        reference: What float32 finds.
        load: Opens the graph.
        overlap_target: Smallest mean overlap of the ten best products.
    """
    try:
        with _reasons():
            encoder = load(make())
            smallest = _smallest_cosine(encoder, reference)
            shares = reference.overlap(encoder, overlap_target)
            change = quality_change(
                reference.pairs, pair_scores(reference.pairs, encoder, reference.tokenizer), reference.scores
            )
    except _NotShippedError as error:
        return PrecisionProof(precision=name, shipped=False, reason=str(error))
    overlap = float(np.mean(shares))
    reason = ""
    if overlap < overlap_target:
        reason = f"overlap@{K} with float32 must be at least {overlap_target}, got {overlap:.4f}"
    elif change.worst() < 0:
        reason = "its quality is below float32's beyond chance"
    return PrecisionProof(
        precision=name,
        shipped=not reason,
        reason=reason,
        smallest_cosine=smallest,
        overlap_at_10=overlap,
        overlap_queries=len(shares),
        change=change,
    )


def measure_speed(encoders: Mapping[str, ServedEncoder]) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of a run for each encoder and shape, such as ``{"int8": {"1x8": 1.2}}``.

    Encoders take turns, so that a busy machine is busy for all of them.
    """
    speed: dict[str, dict[str, float]] = {name: {} for name in encoders}
    generator = np.random.default_rng(0)
    for rows, tokens in SPEED_SHAPES:
        ids = generator.integers(100, size=(rows, tokens))  # every vocabulary has a hundred tokens
        lengths = np.linspace(tokens, SPEED_SHORTEST, rows)  # (B,)
        batch = TokenBatch(ids, (np.arange(tokens) < lengths[:, None]).astype(np.int64))
        taken: dict[str, list[float]] = {name: [] for name in encoders}
        end = time.perf_counter() + SPEED_SECONDS * len(encoders)
        for _ in range(SPEED_RUNS):
            for name, encoder in encoders.items():
                started = time.perf_counter()
                encoder.embed(batch)
                taken[name].append(1000 * (time.perf_counter() - started))
            if time.perf_counter() > end:
                break
        for name, values in taken.items():
            speed[name][f"{rows}x{tokens}"] = round(float(np.median(values)), 3)
    return speed


class _NotShippedError(Exception):
    """Says why a precision is not shipped."""


@contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    except (ExportError, ModelError) as error:
        raise _NotShippedError(str(error)) from error


def _smallest_cosine(encoder: ServedEncoder, reference: Reference) -> float:
    smallest = 1.0
    queries, titles = reference.pairs.queries[:64], reference.pairs.titles[:64]
    for batch in ProbeTexts(reference.tokenizer, queries, titles).batches():
        found, expected = encoder.embed(batch), reference.expected(batch)  # (B, D) each
        if not np.isfinite(found).all():
            raise ExportError(f"it must give finite values, got NaN or infinity for a batch of {batch.input_ids.shape}")
        empty = batch.attention_mask.sum(1) == 0  # (B,)
        smallest = min(smallest, float((found * expected).sum(1)[~empty].min(initial=1.0)))
    return smallest
