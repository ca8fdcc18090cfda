"""The reranker of a run as one plain model folder, with its trained head."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from trident.encoder.text import TextContract
from trident.encoder.weights import load_model, spread_layers
from trident_export.merge.adapter import Kind, MergeProof, merged, require_equal, save_merged
from trident_export.run_folder import RECIPE_FILE

FRESH = ("classifier", "score", "pooler")  # modules that a base model may lack


def merge_reranker(run: Path, output: Path) -> MergeProof:
    """Write the run's reranker as one plain model folder.

    Args:
        run: A run folder of ``trident train`` with ``stage = "reranker"``.
        output: An existing empty folder; gets weights, configuration, tokenizer and text contract.

    Raises:
        ModelError: If the run or its base model is missing, or is not the one it was trained on.
        ExportError: If the merged model equals its base, or differs from base + adapter.
    """
    contract = TextContract.load(run)
    model, proof = merged(run, RERANKER)
    save_merged(model, run, output, contract)
    require_equal(output, model, RERANKER)
    return proof


def load_classifier(folder: Path, *, fresh: tuple[str, ...] = ()) -> Any:
    """Return the classifier of a folder in float32 and evaluation mode; custom code is never run.

    Args:
        folder: Of a model of transformers.
        fresh: Modules that the files may lack.

    Raises:
        ModelError: If transformers cannot load it, or its weights do not fit its architecture.
    """

    def load() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            num_labels=1,
            dtype=torch.float32,
            trust_remote_code=False,
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )

    return load_model(folder, load, fresh=fresh).eval()


def keep_layers(model: Any, layers: int) -> None:
    """Leave the layers of a base model that its training kept: evenly spread, the last one among them."""
    stack = model.base_model.encoder.layer
    model.base_model.encoder.layer = torch.nn.ModuleList([stack[each] for each in spread_layers(len(stack), layers)])
    model.config.num_hidden_layers = layers


def _base(folder: Path, run: Path) -> Any:
    """Return the base of a run's reranker, with the layers that its training kept."""
    base = load_classifier(folder, fresh=FRESH)
    layers = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))["reranker"]["layers"]
    if layers is not None:
        keep_layers(base, int(layers))
    return base


def _logits(model: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=input_ids, attention_mask=mask).logits
    return logits


RERANKER = Kind(name="reranker", load=load_classifier, load_base=_base, outputs=_logits, is_scaled=True)
