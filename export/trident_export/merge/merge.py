"""The encoder of a run as one plain model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

from trident.encoder.text import TextContract
from trident.encoder.weights import load_model
from trident_export.merge.adapter import Kind, MergeProof, merged, require_equal, save_merged
from trident_export.merge.sentence_transformers import write_modules


def merge(run: Path, output: Path) -> MergeProof:
    """Write the run's encoder as one plain model folder.

    Args:
        run: A run folder of ``trident train``.
        output: An existing empty folder; gets weights, configuration, tokenizer, text contract and the files that
            sentence-transformers reads.

    Raises:
        ModelError: If the run or its base model is missing or is not the one it was trained on.
        ExportError: If the merged model equals its base, or differs from base + adapter.
    """
    contract = TextContract.load(run)
    model, proof = merged(run, ENCODER)
    save_merged(model, run, output, contract)
    write_modules(output, contract, dimension=model.config.hidden_size)
    require_equal(output, model, ENCODER)
    return proof


def load_backbone(folder: Path) -> Any:
    """Return the transformers model of a folder in float32 and evaluation mode; custom code is never run.

    Raises:
        ModelError: If transformers cannot load it, or its weights do not fit its architecture.
    """

    def load() -> Any:
        return AutoModel.from_pretrained(
            str(folder),
            dtype=torch.float32,
            trust_remote_code=False,
            attn_implementation="eager",  # traced, it has a quarter fewer nodes than scaled_dot_product_attention
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # load_model refuses them, by name
        )

    return load_model(folder, load).eval()


def _hidden(model: Any, input_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    hidden: torch.Tensor = model(input_ids=input_ids, attention_mask=mask).last_hidden_state
    return hidden


ENCODER = Kind(name="model", load=load_backbone, load_base=lambda folder, _: load_backbone(folder), outputs=_hidden)
