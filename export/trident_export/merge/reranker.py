"""Folds a reranker's adapter into its base model with the trained head, and proves it."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from trident.encoder.base_model import find_model, require_model, weights_fingerprint
from trident.encoder.text import TextContract
from trident.encoder.weights import load_model, require_whole, spread_layers
from trident.errors import ExportError, ModelError
from trident_export.merge.merge import ADAPTER_WEIGHTS, PROBE_SHAPE, TOKENIZER_FILES, TOLERANCE
from trident_export.run_folder import RECIPE_FILE

FRESH = ("classifier", "score", "pooler")  # modules that a base model may lack


@dataclass(frozen=True, kw_only=True)
class RerankerMerge:
    """What a merge was held against: largest differences of a logit over random token ids."""

    adapter: bool
    difference_to_base: float
    difference_to_adapter: float


def merge_reranker(run: Path, output: Path) -> RerankerMerge:
    """Write the run's reranker as one plain model folder.

    Args:
        run: A run folder of ``trident train`` with ``stage = "reranker"``.
        output: An existing empty folder; gets weights, configuration, tokenizer and text contract.

    Raises:
        ModelError: If the run or its base model is missing, or is not the one it was trained on.
        ExportError: If the merged model equals its base, or differs from base + adapter.
    """
    contract = TextContract.load(run)
    if (run / "adapter").is_dir():
        model, proof = _merge_adapter(run)
    else:
        model = load_classifier(require_model(run / "model"))
        proof = RerankerMerge(adapter=False, difference_to_base=0.0, difference_to_adapter=0.0)
    model.save_pretrained(str(output))
    for name in TOKENIZER_FILES:
        if (run / name).is_file():
            shutil.copyfile(run / name, output / name)
    contract.save(output)
    reloaded = load_classifier(output)
    if (difference := _largest(_logits(reloaded), _logits(model))) > TOLERANCE:
        raise ExportError(f"the saved reranker must equal the merged one, got a difference of {difference:.1e}")
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


def _merge_adapter(run: Path) -> tuple[Any, RerankerMerge]:
    record = json.loads((run / "base.json").read_text(encoding="utf-8"))
    folder = find_model(record["base_model"])
    found, expected = weights_fingerprint(folder), record["weights_fingerprint"]
    if found != expected:
        raise ModelError(
            f"the adapter of {run} belongs to weights {expected[:12]}, but {record['base_model']} has {found[:12]}: "
            "install the base model it was trained on, or train again"
        )
    require_whole(run / "adapter" / ADAPTER_WEIGHTS)
    base = load_classifier(folder, fresh=FRESH)
    layers = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))["reranker"]["layers"]
    if layers is not None:
        keep_layers(base, int(layers))
    of_base = _logits(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # measured below, not read
        adapted = PeftModel.from_pretrained(base, str(run / "adapter")).eval()
    of_adapter = _logits(adapted)
    merged = adapted.merge_and_unload(safe_merge=True)
    of_merged = _logits(merged)
    proof = RerankerMerge(
        adapter=True,
        difference_to_base=_largest(of_merged, of_base),
        difference_to_adapter=_largest(of_merged, of_adapter),
    )
    if proof.difference_to_base <= TOLERANCE:
        raise ExportError(
            f"the merged reranker must differ from its base, got a largest difference of "
            f"{proof.difference_to_base:.1e}: the adapter in {run} fits no layer, or was never trained"
        )
    if proof.difference_to_adapter > TOLERANCE * max(1.0, float(of_adapter.abs().max())):
        raise ExportError(
            f"the merged reranker must equal base + adapter within {TOLERANCE:g}, got a difference of "
            f"{proof.difference_to_adapter:.1e} ({run})"
        )
    return merged, proof


def keep_layers(model: Any, layers: int) -> None:
    """Leave the layers of a base model that its training kept: evenly spread, the last one among them."""
    stack = model.base_model.encoder.layer
    model.base_model.encoder.layer = torch.nn.ModuleList([stack[each] for each in spread_layers(len(stack), layers)])
    model.config.num_hidden_layers = layers


def _logits(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(0, model.config.vocab_size, PROBE_SHAPE, generator=generator)
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
    return logits


def _largest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
