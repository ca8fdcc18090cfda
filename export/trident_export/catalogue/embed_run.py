"""Embeds a catalogue with PyTorch in several processes, one a GPU, for an export to take over.

accelerate launch --num_processes 4 -m trident embed runs/NAME --catalogue products.csv --out vectors/
trident export runs/NAME --catalogue products.csv --vectors vectors/ --out generations/
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from numpy.typing import NDArray

from trident.data.catalogue import Catalogue
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer, TokenBatch
from trident.generation.staging import write_text
from trident_export.catalogue.embedding import EmbeddingStore, Process, embed_catalogue, tokenize_titles
from trident_export.catalogue.taken import RECORD_FILE, EmbeddingsRecord
from trident_export.graphs.onnx_graph import EncoderGraph
from trident_export.merge.merge import load_backbone, merge

MERGED_FOLDER = ".encoder"  # while embedding


class TorchEmbedder:
    """The merged encoder on a device, in float32."""

    def __init__(self, graph: EncoderGraph, device: torch.device) -> None:
        """Move the encoder to the device."""
        self._graph, self._device = graph.to(device).eval(), device
        self.dimension = int(graph.backbone.config.hidden_size)

    def embed(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return the embeddings (B, D) of a padded batch."""
        parts = (torch.from_numpy(part).to(self._device) for part in (batch.input_ids, batch.attention_mask))
        with torch.inference_mode():
            embedding: NDArray[np.float32] = self._graph(*parts).float().cpu().numpy()
        return embedding


def embed_run(run: Path, catalogue: Catalogue, folder: Path, *, progress: Callable[[int], None]) -> EmbeddingsRecord:
    """Embed a catalogue with a run's encoder; a killed call goes on when it is given again.

    Args:
        run: A run folder of ``trident train``.
        catalogue: The products.
        folder: For ``vectors.npy`` (N, D) float32, in the order of the catalogue, and ``embeddings.json``.
        progress: Called with the number of products that this process has done since the last call.

    Raises:
        TridentError: If the run cannot be used.
    """
    accelerator = Accelerator()
    process = Process(accelerator.process_index, accelerator.num_processes, accelerator.wait_for_everyone)
    merged = folder / MERGED_FOLDER
    if process.rank == 0:  # transformers saves a model in the first process only
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir(parents=True)
        merge(run, merged)
    process.wait()
    contract = TextContract.load(merged)
    tokenizer = TextTokenizer.load(merged, contract)
    fingerprint = encoder_fingerprint(part_fingerprints(merged, tokenizer))
    embedder = TorchEmbedder(EncoderGraph(load_backbone(merged), contract), accelerator.device)
    embed_catalogue(
        catalogue.titles,
        tokenizer,
        embedder,
        EmbeddingStore(folder, f"{fingerprint}:{accelerator.device.type}", process),
        threads=1,
        progress=progress,
    )
    record = EmbeddingsRecord(
        encoder_fingerprint=fingerprint,
        tokens_fingerprint=tokenize_titles(catalogue.titles, tokenizer, folder / process.tokens_file).fingerprint,
        products=len(catalogue),
        dimension=embedder.dimension,
        device=accelerator.device.type,
        processes=process.count,
    )
    process.wait()
    (folder / process.tokens_file).unlink()
    if process.rank == 0:
        shutil.rmtree(merged)
        write_text(folder / RECORD_FILE, json.dumps(asdict(record), indent=2) + "\n")
    process.wait()
    return record


def is_first() -> bool:
    """Return whether this is the first of the processes, which is the one that prints."""
    return bool(PartialState().is_main_process)
