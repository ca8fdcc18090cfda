"""Holds an ONNX graph against PyTorch, or another graph, over real texts and the shapes where graphs go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer, TokenBatch, pad
from trident.errors import ExportError
from trident_export.graphs.onnx_graph import EncoderGraph

SMALLEST_COSINE = 0.99999
SMALLEST_COSINE_INT8 = 0.999  # between two graphs of 8 bits: a sum in another order rounds to the next of 256 values
BATCH_SIZE = 16
ROWS = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64)  # of a batch: beside powers of two, where kernels turn
EVERY_LENGTH_UP_TO = 9  # tokens; above, those beside the multiples of 16
UNICODE_PROBES = (
    "Kaffeemühle für Espresso",
    "ノイズキャンセリング ヘッドホン",
    "3.5\u2033 HDD \u2013 2 TB",
    "🎧",
    "a",
    "é" * 200,
)


@dataclass(frozen=True, kw_only=True)
class ParityProof:
    """How close the graph came to the reference: the smallest cosine and the largest difference of any value."""

    texts: int
    smallest_cosine: float
    largest_difference: float


@dataclass(frozen=True)
class ProbeTexts:
    """Real texts that an encoder is held against its reference with, and the tokenizer of the same export."""

    tokenizer: TextTokenizer
    queries: Sequence[str]
    titles: Sequence[str]

    def first(self, count: int) -> ProbeTexts:
        """Return these with at most ``count`` of each side."""
        return ProbeTexts(self.tokenizer, self.queries[:count], self.titles[:count])

    def batches(self) -> Iterator[TokenBatch]:
        """Yield batches of the texts, unicode, chosen lengths and batch sizes, and a row of padding only."""
        tokenizer = self.tokenizer
        for start in range(0, len(self.queries), BATCH_SIZE):
            yield tokenizer.encode(self.queries[start : start + BATCH_SIZE], "query")
        for start in range(0, len(self.titles), BATCH_SIZE):
            yield tokenizer.encode(self.titles[start : start + BATCH_SIZE], "product")
        yield tokenizer.encode(UNICODE_PROBES, "query")
        longest, short = tokenizer.token_ids(["word " * 1000, "word"], "product")
        lengths = [longest[:length] for length in chosen_lengths(len(longest))]
        for row in lengths:
            yield pad([row], pad_id=tokenizer.pad_id)
        yield pad(lengths, pad_id=tokenizer.pad_id)
        for size in ROWS:
            yield pad([short] * size, pad_id=tokenizer.pad_id)
        yield pad([short, []], pad_id=tokenizer.pad_id)


def chosen_lengths(longest: int) -> list[int]:
    """Return the lengths in tokens that a row of ``longest`` is cut to: those where vectors and tiles begin and end."""
    beside = (length + step for length in range(16, longest + 1, 16) for step in (-1, 0, 1))
    return sorted({length for length in (*range(1, EVERY_LENGTH_UP_TO + 1), *beside, longest) if length <= longest})


class Expected:
    """What a reference embeds batches as; each batch is computed once, for everything that is held against it.

    Args:
        embed: Returns the embeddings (B, D) of a padded batch.
        name: Of the reference, in errors.
    """

    def __init__(self, embed: Callable[[TokenBatch], NDArray[np.float32]], name: str) -> None:
        """Know nothing yet."""
        self._embed, self.name = embed, name
        self._known: dict[tuple[bytes, bytes, tuple[int, ...]], NDArray[np.float32]] = {}

    def __call__(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return the embeddings (B, D) of a padded batch."""
        key = (batch.input_ids.tobytes(), batch.attention_mask.tobytes(), batch.input_ids.shape)
        if key not in self._known:
            self._known[key] = self._embed(batch)
        return self._known[key]


def prove_parity(
    encoder: ServedEncoder,
    expected: Expected,
    probes: ProbeTexts,
    *,
    what: str = "the ONNX graph",
    smallest_cosine: float = SMALLEST_COSINE,
) -> ParityProof:
    """Return the proof that the graph equals its reference in float32.

    Batches: the real texts in their own order (mixed lengths, so padding is covered), unicode, rows of 1 token up to
    the contract's longest, alone and together, batches of 1 to 64 rows, and a row of padding only, which must give
    zeros and no NaN.

    Args:
        encoder: The graph, or what stands in its place.
        expected: The reference.
        probes: Real texts.
        what: Names the encoder in errors.
        smallest_cosine: That any text may have.

    Raises:
        ExportError: If a cosine is smaller, or a value is NaN or infinite.
    """
    cosines: list[float] = []
    differences: list[float] = []
    texts = 0
    for batch in probes.batches():
        found, wanted = encoder.embed(batch), expected(batch)  # (B, D) each
        if not np.isfinite(found).all():
            raise ExportError(f"{what} must give finite values, got NaN or infinity for {batch.input_ids.shape}")
        empty = batch.attention_mask.sum(1) == 0  # (B,)
        cosines.append(float((found * wanted).sum(1)[~empty].min(initial=1.0)))
        differences.append(float(np.abs(found - wanted).max()))
        texts += len(found)
    proof = ParityProof(texts=texts, smallest_cosine=min(cosines), largest_difference=max(differences))
    if proof.smallest_cosine < smallest_cosine:
        raise ExportError(
            f"{what} must equal {expected.name} with a cosine of at least {smallest_cosine}, got "
            f"{proof.smallest_cosine:.6f} over {texts} texts: it is not the merged model"
        )
    return proof


def torch_embeddings(graph: EncoderGraph, batch: TokenBatch) -> NDArray[np.float32]:
    """Return the embeddings (B, D) of a padded batch by PyTorch."""
    with torch.inference_mode():
        embedding = graph(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask))
    return np.asarray(embedding.numpy(), dtype=np.float32)
