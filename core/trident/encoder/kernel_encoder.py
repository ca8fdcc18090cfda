"""The encoder of short texts on CPUs: the merged model, or its 8-bit form, on Trident's own kernels (``kernels/``).

ONNX Runtime reads the weights of a lone query at a third of what a core can (``docs/log/``); the kernels fetch them
ahead, compute no padding, and add up a row's sums in the same order whatever else is in the batch, so that a text has
the same embedding, to the last bit, in every batch. Which models they run says ``kernel_models``: BERT, RoBERTa and
ModernBERT. Others run their graph.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.encoder.encoder import FINGERPRINT_KEY, balanced_runs
from trident.encoder.kernel_models import make_encoder, model_fault
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TokenBatch, unpadded
from trident.errors import ModelError

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
REMEDY = "install it: pip install ./kernels"


class KernelEncoder:
    """A merged encoder on the kernels of this processor; ``load`` one. Embedding is safe from several threads.

    Args:
        model: A ``trident_kernels.Encoder``.
        folder: Where its weights came from, for errors.
        threads: Rows of a batch are dealt out to.
    """

    def __init__(self, model: Any, folder: Path, *, threads: int = 1) -> None:
        """Keep the encoder; see the class for the arguments."""
        self._model = model
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encoder") if threads > 1 else None
        self.folder = folder
        self.threads = threads
        self.dimension: int = model.dimension
        self.instructions: str = model.instructions

    @classmethod
    def load(
        cls,
        folder: Path,
        contract: TextContract,
        *,
        codes: Path | None = None,
        threads: int = 1,
        instructions: str | None = None,
    ) -> KernelEncoder:
        """Return the encoder of a merged model.

        Args:
            folder: With ``config.json`` and ``model.safetensors``.
            contract: Gives the pooling.
            codes: File of its linear layers in 8 bits, of ``trident_export.graphs.int8_codes``; None: they are float32.
            threads: Rows of a batch run on as many cores, >= 1.
            instructions: ``avx512`` or ``avx2``; None: the fastest of this processor.

        Raises:
            ModelError: If the kernels cannot run it here (``kernels_fault``), or weights are damaged.
        """
        if threads < 1:
            raise ModelError(f"threads must be >= 1, got {threads}")
        fault = kernels_fault(folder, codes)
        if fault is not None:
            raise ModelError(f"encoder {folder} cannot run on the kernels: {fault}")
        from safetensors import SafetensorError  # here: graphs are served without it
        from safetensors.numpy import load_file

        config = _config(folder)
        arrays = []
        for path in (folder / WEIGHTS_FILE, codes):
            try:
                arrays.append({} if path is None else load_file(path))
            except (OSError, SafetensorError) as error:
                raise ModelError(f"weights {path} cannot be read: {error}") from error
        weights, integers = arrays
        try:
            model = make_encoder(
                config,
                weights,
                mean=contract.pooling == "mean",
                instructions=instructions or "",
                codes=integers,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"encoder {folder} does not fit the kernels: {error}") from error
        return cls(model, folder, threads=threads)

    def for_lone(self, threads: int) -> KernelEncoder:  # noqa: ARG002 - one thread reads as fast as it computes
        """Return the encoder for who asks alone: this one."""
        return self

    def embed_ids(self, rows: Sequence[Sequence[int]], *, pad_id: int) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the embeddings of N rows of token ids, (N, D), in their order.

        Args:
            rows: Token ids, special tokens included, at least one a row.
            pad_id: Not needed, nothing is padded.

        Raises:
            ModelError: If a row is empty or too long, or has an id outside the vocabulary.
        """
        if self._pool is None or len(rows) < 2:
            return self._embed(rows)
        share = -(-sum(len(row) for row in rows) // self.threads)
        runs = balanced_runs(rows, run_tokens=max(share, 1), multiple=self.threads)
        return np.concatenate(list(self._pool.map(self._embed, runs)))

    def embed(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return the embeddings of a padded batch, (B, D); zeros for a row of padding only, as the graph gives.

        Raises:
            ModelError: If a row is too long, or has an id outside the vocabulary.
        """
        rows = unpadded(batch.input_ids, batch.attention_mask)
        embeddings = np.zeros((len(rows), self.dimension), dtype=np.float32)
        with_tokens = [number for number, row in enumerate(rows) if row]
        if with_tokens:
            embeddings[with_tokens] = self.embed_ids([rows[number] for number in with_tokens], pad_id=0)
        return embeddings

    def _embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        ids = np.array([token for row in rows for token in row], dtype=np.int32)
        try:
            embeddings: NDArray[np.float32] = self._model.embed(ids, [len(row) for row in rows])
        except ValueError as error:
            raise ModelError(f"encoder {self.folder} cannot run {len(rows)} rows: {error}") from error
        return embeddings


def kernels_fault(folder: Path, codes: Path | None = None) -> str | None:
    """Return why the kernels cannot run a merged model here, or its 8-bit form; None where they can."""
    try:
        import trident_kernels
    except ImportError as error:
        return f"trident_kernels is not installed ({error}); {REMEDY}"
    if not hasattr(trident_kernels, "ModernBertEncoder"):
        return f"trident_kernels is of an earlier version; {REMEDY}"
    if not trident_kernels.instructions():
        return "this processor has neither AVX-512 nor AVX2 with FMA"
    if codes is not None and not trident_kernels.has_8_bits():
        return "this processor has no AVX-512 VNNI, which they need for 8 bits"
    for path in (folder / WEIGHTS_FILE, codes):
        if path is not None and not path.is_file():
            return f"{path.parent} has no {path.name}"
    return model_fault(_config(folder))


def codes_fingerprint(codes: Path) -> str | None:
    """Return which encoder the integers of a file are of; None where it does not say.

    Raises:
        ModelError: If the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open  # here: graphs are served without it

    try:
        with safe_open(codes, "numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"weights {codes} cannot be read: {error}") from error
    return metadata.get(FINGERPRINT_KEY)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model configuration {path} cannot be read: {error}") from error
    return config
