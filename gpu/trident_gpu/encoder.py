"""The merged encoder in PyTorch: token ids in, embeddings of unit length out, a CUDA graph for each shape.

A small batch of a large encoder is bound by the launches of its hundreds of kernels; a graph launches them at once.
Source: NVIDIA's CUDA Graphs, as PyTorch's ``torch.cuda.graph`` offers them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel

from trident.encoder.pooling import normalize, pool
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TokenBatch
from trident.encoder.weights import load_model, usable_positions
from trident.errors import ModelError, first_line
from trident_gpu.buckets import Buckets, Run, Shape

AUTO = "auto"  # a GPU where PyTorch has one, else the CPU
WARM_UP = 2  # runs before a graph is captured: libraries set themselves up in the first


class TorchEncoder:
    """An encoder whose batches are padded to a few shapes; ``load`` one. Not safe from several threads.

    Args:
        backbone: A transformers model in evaluation mode, on the device and in the type that it runs in.
        contract: Gives the pooling.
        buckets: The shapes.
        graphs: Whether a GPU gets a graph for each shape; without, its kernels are launched one by one.
    """

    def __init__(self, backbone: Any, contract: TextContract, buckets: Buckets, *, graphs: bool = True) -> None:
        """Keep the model and capture the graphs."""
        self.backbone = backbone
        self.contract = contract
        self.buckets = buckets
        self.device: torch.device = backbone.device
        self.dimension = int(backbone.config.hidden_size)
        self.vocabulary = int(backbone.config.vocab_size)
        self._captured: dict[Shape, Callable[[Tensor], Tensor]] = {}
        if graphs and self.device.type == "cuda":
            pool_handle = torch.cuda.graph_pool_handle()
            self._captured = {shape: self._capture(shape, pool_handle) for shape in buckets.shapes()}

    @classmethod
    def load(
        cls,
        folder: Path,
        contract: TextContract,
        buckets: Buckets,
        *,
        device: str = AUTO,
        graphs: bool = True,
        dtype: torch.dtype | None = None,
    ) -> TorchEncoder:
        """Return the encoder of a model folder.

        Args:
            folder: Of the merged model; custom code is never run.
            contract: Gives the pooling.
            buckets: The shapes.
            device: ``cuda``, ``cpu`` or ``auto``.
            graphs: As for the class.
            dtype: Of weights and activations; None: float16 on a GPU, float32 on a CPU. Pooling is in float32.

        Raises:
            ModelError: If the folder cannot be loaded, is too short for the buckets, does not run, or there is no such
                device.
        """
        gpu = torch.cuda.is_available()
        chosen = ("cuda" if gpu else "cpu") if device == AUTO else device
        if chosen not in ("cuda", "cpu"):
            raise ModelError(f"device must be cuda, cpu or {AUTO}, got '{device}'")
        if chosen == "cuda" and not gpu:
            raise ModelError("device cuda needs a GPU that PyTorch can use, got none: check nvidia-smi, or take cpu")
        dtype = dtype or (torch.float16 if chosen == "cuda" else torch.float32)
        backbone = load_model(
            folder,
            lambda: AutoModel.from_pretrained(
                str(folder),
                dtype=dtype,
                trust_remote_code=False,
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # load_model refuses them, by name
            ),
        )
        positions = usable_positions(backbone)
        if positions is not None and buckets.tokens[-1] > positions:
            raise ModelError(
                f"buckets must be <= {positions} tokens, the positions of {folder}, got {buckets.tokens[-1]}"
            )
        try:
            return cls(backbone.eval().to(chosen), contract, buckets, graphs=graphs)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            raise ModelError(f"model folder {folder} does not run on {chosen}: {first_line(error)}") from error

    def embed_ids(self, rows: Sequence[Sequence[int]], *, pad_id: int) -> NDArray[np.float32]:
        """Return the embeddings of N rows of token ids, (N, D), in their order.

        Args:
            rows: Token ids, special tokens included, at least one a row.
            pad_id: The tokenizer's padding id.

        Raises:
            ModelError: If a row is empty, longer than the longest bucket or has an id outside the vocabulary, or if
                PyTorch cannot run a batch.
        """
        embeddings = np.empty((len(rows), self.dimension), dtype=np.float32)
        runs = self.buckets.runs([len(row) for row in rows])
        batches = [self._padded([rows[number] for number in run.numbers], run, pad_id) for run in runs]
        try:
            with torch.inference_mode():
                for run, found in zip(runs, [self._run(batch) for batch in batches], strict=True):
                    embeddings[list(run.numbers)] = found[: len(run.numbers)].cpu().numpy()
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            raise ModelError(
                f"the encoder cannot run {len(rows)} rows on {self.device}: {first_line(error)}"
            ) from error
        return embeddings

    def embed(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return the embeddings (B, D) of a batch that has one of the shapes already.

        Raises:
            ModelError: If it has another shape, or an id outside the vocabulary.
        """
        if batch.input_ids.shape not in self.buckets.shapes():
            raise ModelError(f"a batch must have one of the shapes of the buckets, got {batch.input_ids.shape}")
        self._check(batch.input_ids)
        with torch.inference_mode():
            both = torch.from_numpy(np.stack([batch.input_ids, batch.attention_mask]))
            return np.asarray(self._run(both).cpu().numpy(), dtype=np.float32)

    def _padded(self, rows: Sequence[Sequence[int]], run: Run, pad_id: int) -> Tensor:
        """Return ids and mask, (2, B, L) int64; a row that only fills the batch has a token, so that it has a mean."""
        batch = np.full((2, *run.shape), pad_id, dtype=np.int64)
        batch[1] = 0
        batch[1, :, 0] = 1
        for ids, mask, row in zip(*batch, rows, strict=False):
            ids[: len(row)] = row
            mask[: len(row)] = 1
        self._check(batch[0])
        return torch.from_numpy(batch)

    def _check(self, ids: NDArray[np.int64]) -> None:
        """Refuse what a GPU would read from memory that is not the model's, and end the process for."""
        if ids.min() < 0 or ids.max() >= self.vocabulary:
            raise ModelError(
                f"token ids must be 0 to {self.vocabulary - 1}, got {ids.min()} to {ids.max()}: "
                "the tokenizer is of another model"
            )

    def _run(self, batch: Tensor) -> Tensor:
        """Return the embeddings (B, D) of a padded batch (2, B, L); on a GPU they may still be under way."""
        captured = self._captured.get((batch.shape[1], batch.shape[2]))
        return self._forward(batch.to(self.device)) if captured is None else captured(batch)

    def _forward(self, batch: Tensor) -> Tensor:
        ids, mask = batch
        hidden = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, D)
        embedding: Tensor = normalize(pool(hidden.float(), mask, self.contract.pooling))
        return embedding

    def _capture(self, shape: Shape, pool_handle: Any) -> Callable[[Tensor], Tensor]:
        """Return what runs a batch of a shape as one CUDA graph."""
        given = torch.ones((2, *shape), dtype=torch.int64, device=self.device)
        given[1, :, 1:] = 0  # as padded as can be, so that nothing is chosen for a batch without padding
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode():
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP):
                    self._forward(given)
            torch.cuda.current_stream().wait_stream(beside)
            with torch.cuda.graph(graph, pool=pool_handle):
                found = self._forward(given)

        def replay(batch: Tensor) -> Tensor:
            given.copy_(batch)
            graph.replay()
            return found.clone()  # the next run writes over it, or over memory that it shares

        return replay
