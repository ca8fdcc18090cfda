"""Embeds a catalogue with PyTorch in several processes, one a GPU, for an export to take over.

accelerate launch --num_processes 4 -m trident embed runs/NAME --catalogue products.csv --out vectors/
trident export runs/NAME --catalogue products.csv --vectors vectors/ --out generations/
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from numpy.typing import NDArray

from trident.config import from_table
from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.reading import Reading
from trident.encoder.encoder import OnnxEncoder
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer, TokenBatch
from trident.errors import ExportError, ModelError
from trident.generation.staging import write_text
from trident_export.catalogue.embedding import VECTORS_FILE, EmbeddingStore, Process, embed_catalogue, tokenize_titles
from trident_export.graphs.onnx_graph import EncoderGraph
from trident_export.merge.merge import load_backbone, merge

RECORD_FILE = "embeddings.json"
MERGED_FOLDER = ".encoder"  # while embedding
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


def embed_run(
    run: Path, catalogue_path: Path, folder: Path, reading: Reading, *, progress: Callable[[int], None]
) -> EmbeddingsRecord:
    """Embed a catalogue with a run's encoder; a killed call goes on when it is given again.

    Args:
        run: A run folder of ``trident train``.
        catalogue_path: The products.
        folder: For ``vectors.npy`` (N, D) float32, in the order of the catalogue, and ``embeddings.json``.
        reading: How that file is read.
        progress: Called with the number of products that this process has done since the last call.

    Raises:
        TridentError: If the run or the catalogue cannot be used.
    """
    accelerator = Accelerator()
    catalogue = read_catalogue(catalogue_path, reading)
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


def take_over(
    folder: Path, catalogue: Catalogue, tokenizer: TextTokenizer, encoder: OnnxEncoder, *, fingerprint: str
) -> NDArray[np.float32]:
    """Return embeddings (N, D) that ``embed_run`` made, after holding some against the graph.

    Raises:
        ModelError: If the folder holds none.
        ExportError: If they are of another encoder or catalogue, or differ from the graph's.
    """
    try:
        record = from_table(
            EmbeddingsRecord, json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")), where=str(folder)
        )
        vectors: NDArray[np.float32] = np.load(folder / VECTORS_FILE, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no embeddings: {error}; make them with trident embed") from error
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
