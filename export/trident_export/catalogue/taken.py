"""Embeddings that ``trident embed`` made, for an export to take over once they are held against its graph."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.config import from_table
from trident.data.catalogue import Catalogue
from trident.encoder.encoder import OnnxEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError, ModelError
from trident_export.catalogue.embedding import VECTORS_FILE, tokenize_titles

RECORD_FILE = "embeddings.json"
CHECKED_TITLES = 256
SMALLEST_COSINE = 0.9999  # another device sums in another order


@dataclass(frozen=True, kw_only=True)
class EmbeddingsRecord:
    """What a folder of embeddings is of."""

    encoder_fingerprint: str
    tokens_fingerprint: str
    products: int
    dimension: int
    device: str
    processes: int


def read_record(folder: Path) -> EmbeddingsRecord:
    """Return what a folder's embeddings are of.

    Raises:
        ModelError: If it holds none.
    """
    try:
        (folder / VECTORS_FILE).stat()
        table = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no embeddings: {error}; make them with trident embed") from error
    return from_table(EmbeddingsRecord, table, where=str(folder))


def take_over(
    folder: Path, catalogue: Catalogue, tokenizer: TextTokenizer, encoder: OnnxEncoder, *, fingerprint: str
) -> NDArray[np.float32]:
    """Return embeddings (N, D) that ``embed_run`` made, after holding some against the graph.

    Raises:
        ModelError: If the folder holds none.
        ExportError: If they are of another encoder or catalogue, or differ from the graph's.
    """
    record = read_record(folder)
    vectors: NDArray[np.float32] = np.load(folder / VECTORS_FILE, mmap_mode="r")
    if record.encoder_fingerprint != fingerprint:
        raise ExportError(
            f"the embeddings of {folder} must be of encoder {fingerprint[:12]}, got {record.encoder_fingerprint[:12]}: "
            "run trident embed with this run"
        )
    with tempfile.TemporaryDirectory() as scratch:
        tokens = tokenize_titles(catalogue.titles, tokenizer, Path(scratch) / "tokens.i32").fingerprint
    if tokens != record.tokens_fingerprint or vectors.shape != (len(catalogue), encoder.dimension):
        raise ExportError(
            f"the embeddings of {folder} must be of this catalogue's {len(catalogue):,} titles, got "
            f"{record.products:,} of another: run trident embed with this catalogue"
        )
    chosen = np.linspace(0, len(catalogue) - 1, min(CHECKED_TITLES, len(catalogue))).astype(np.int64)
    rows = tokenizer.token_ids([catalogue.titles[row] for row in chosen.tolist()], "product")
    smallest = float((vectors[chosen] * encoder.embed_ids(rows, pad_id=tokenizer.pad_id)).sum(1).min())
    if not smallest >= SMALLEST_COSINE:  # true for NaN as well
        raise ExportError(
            f"the embeddings of {folder} must equal the graph's with a cosine of at least {SMALLEST_COSINE}, got "
            f"{smallest:.6f}: embed again"
        )
    return vectors
