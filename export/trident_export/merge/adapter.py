"""Folds a LoRA adapter into its base model, and proves it: an adapter that does not fit is ignored silently."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from trident.encoder.base_model import find_model, require_model, weights_fingerprint
from trident.encoder.text import TextContract
from trident.encoder.weights import require_whole
from trident.errors import ExportError, ModelError

PROBE_SHAPE = (4, 12)  # texts, tokens
TOLERANCE = 1e-4  # largest difference between merged and base + adapter, in float32
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class MergeProof:
    """What a merge was held against; differences are the largest of any output over random token ids."""

    adapter: bool  # False: the run had whole weights, nothing to merge
    difference_to_base: float
    difference_to_adapter: float


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is merged.

    Attributes:
        name: In errors.
        load: Returns the whole model of a folder.
        load_base: Returns the model of a run's base, which may lack a head; the run says how it was cut.
        outputs: Of a model for token ids and mask, (B, L) int64 each.
        is_scaled: Whether outputs may be large, so that a difference counts beside the largest of them.
    """

    name: str
    load: Callable[[Path], Any]
    load_base: Callable[[Path, Path], Any]  # the base's folder, the run
    outputs: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
    is_scaled: bool = False

    def probed(self, model: Any) -> torch.Tensor:
        """Return the outputs for random token ids, the same each time."""
        generator = torch.Generator().manual_seed(0)
        input_ids = torch.randint(0, model.config.vocab_size, PROBE_SHAPE, generator=generator)
        with torch.inference_mode():
            return self.outputs(model, input_ids, torch.ones_like(input_ids))


def merged(run: Path, kind: Kind) -> tuple[Any, MergeProof]:
    """Return the model of a run without an adapter, and what its merge was held against.

    Raises:
        ModelError: If the run or its base model is missing, or is not the one it was trained on.
        ExportError: If the merged model equals its base, or differs from base + adapter.
    """
    if (run / "adapter").is_dir():
        return _folded(run, kind)
    if not (run / "model").is_dir():
        raise ModelError(f"{run} is no run folder: it has neither adapter/ nor model/; make one with trident train")
    whole = MergeProof(adapter=False, difference_to_base=0.0, difference_to_adapter=0.0)
    return kind.load(require_model(run / "model")), whole


def save_merged(model: Any, run: Path, output: Path, contract: TextContract) -> None:
    """Write a model with the run's tokenizer and text contract into an existing empty folder."""
    model.save_pretrained(str(output))
    for name in TOKENIZER_FILES:
        if (run / name).is_file():
            shutil.copyfile(run / name, output / name)
    contract.save(output)


def require_equal(output: Path, model: Any, kind: Kind) -> None:
    """Check that a model that was saved is what it was.

    Raises:
        ExportError: If an output differs.
    """
    difference = _largest(kind.probed(kind.load(output)), kind.probed(model))
    if difference > TOLERANCE:
        raise ExportError(
            f"the saved {kind.name} must equal the merged one when loaded again, got a difference of {difference:.1e}"
        )


def _folded(run: Path, kind: Kind) -> tuple[Any, MergeProof]:
    record = json.loads((run / "base.json").read_text(encoding="utf-8"))
    folder = find_model(record["base_model"])
    found, expected = weights_fingerprint(folder), record["weights_fingerprint"]
    if found != expected:
        raise ModelError(
            f"the adapter of {run} belongs to weights {expected[:12]}, but {record['base_model']} has {found[:12]}: "
            "install the base model it was trained on, or train again"
        )
    require_whole(run / "adapter" / ADAPTER_WEIGHTS)
    base = kind.load_base(folder, run)
    of_base = kind.probed(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # measured below, not read
        adapted = PeftModel.from_pretrained(base, str(run / "adapter")).eval()
    of_adapter = kind.probed(adapted)
    model = adapted.merge_and_unload(safe_merge=True)
    of_merged = kind.probed(model)
    to_base, to_adapter = _largest(of_merged, of_base), _largest(of_merged, of_adapter)
    if to_base <= TOLERANCE:
        raise ExportError(
            f"the merged {kind.name} must differ from its base, got a largest difference of {to_base:.1e}: the adapter "
            f"in {run} fits no layer of {record['base_model']}, or was never trained"
        )
    if to_adapter > TOLERANCE * (max(1.0, float(of_adapter.abs().max())) if kind.is_scaled else 1.0):
        raise ExportError(
            f"the merged {kind.name} must equal base + adapter within {TOLERANCE:g}, got a difference of "
            f"{to_adapter:.1e} ({run})"
        )
    return model, MergeProof(adapter=True, difference_to_base=to_base, difference_to_adapter=to_adapter)


def _largest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())
