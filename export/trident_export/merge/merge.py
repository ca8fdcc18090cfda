"""Folds a LoRA adapter into its base model, and proves it: an adapter that does not fit is ignored silently."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModel

from trident.encoder.base_model import find_model, require_model, weights_fingerprint
from trident.encoder.text import TextContract
from trident.encoder.weights import load_model, require_whole
from trident.errors import ExportError, ModelError
from trident_export.merge.sentence_transformers import write_modules

PROBE_SHAPE = (4, 12)  # texts, tokens
TOLERANCE = 1e-4  # largest difference of a hidden value between merged and base + adapter, in float32
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class MergeProof:
    """What the merge was held against; differences are the largest of any hidden value over random token ids."""

    adapter: bool  # False: the run had whole weights, nothing to merge
    difference_to_base: float
    difference_to_adapter: float


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
    if (run / "adapter").is_dir():
        model, proof = _merge_adapter(run)
    elif (run / "model").is_dir():
        model = load_backbone(require_model(run / "model"))
        proof = MergeProof(adapter=False, difference_to_base=0.0, difference_to_adapter=0.0)
    else:
        raise ModelError(f"{run} is no run folder: it has neither adapter/ nor model/; make one with trident train")
    model.save_pretrained(str(output))
    for name in TOKENIZER_FILES:
        if (run / name).is_file():
            shutil.copyfile(run / name, output / name)
    contract.save(output)
    write_modules(output, contract, dimension=model.config.hidden_size)
    require_equal(load_backbone(output), model)
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


def _merge_adapter(run: Path) -> tuple[Any, MergeProof]:
    base_record = json.loads((run / "base.json").read_text(encoding="utf-8"))
    base_folder = find_model(base_record["base_model"])
    found, expected = weights_fingerprint(base_folder), base_record["weights_fingerprint"]
    if found != expected:
        raise ModelError(
            f"the adapter of {run} belongs to weights {expected[:12]}, but {base_record['base_model']} has "
            f"{found[:12]}: install the base model it was trained on, or train again"
        )
    require_whole(run / "adapter" / ADAPTER_WEIGHTS)
    base = load_backbone(base_folder)
    of_base = _hidden(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # measured below, not read
        adapted = PeftModel.from_pretrained(base, str(run / "adapter")).eval()
    of_adapter = _hidden(adapted)
    merged = adapted.merge_and_unload(safe_merge=True)
    of_merged = _hidden(merged)
    proof = MergeProof(
        adapter=True,
        difference_to_base=_largest(of_merged, of_base),
        difference_to_adapter=_largest(of_merged, of_adapter),
    )
    if proof.difference_to_base <= TOLERANCE:
        raise ExportError(
            f"the merged model must differ from its base, got a largest difference of {proof.difference_to_base:.1e}: "
            f"the adapter in {run} fits no layer of {base_record['base_model']}, or was never trained"
        )
    if proof.difference_to_adapter > TOLERANCE:
        raise ExportError(
            f"the merged model must equal base + adapter within {TOLERANCE:g}, got a difference of "
            f"{proof.difference_to_adapter:.1e} ({run})"
        )
    return merged, proof


def _hidden(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(0, model.config.vocab_size, PROBE_SHAPE, generator=generator)
    with torch.inference_mode():
        hidden: torch.Tensor = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).last_hidden_state
    return hidden


def _largest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def require_equal(reloaded: Any, model: Any) -> None:
    """Check that a model that was saved is what it was.

    Raises:
        ExportError: If a hidden value differs.
    """
    difference = _largest(_hidden(reloaded), _hidden(model))
    if difference > TOLERANCE:
        raise ExportError(
            f"the saved model must equal the merged one when loaded again, got a difference of {difference:.1e}"
        )
