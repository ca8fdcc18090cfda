"""A trained model as it is now, on Trident's kernels: judging runs thousands of texts, and they take a third to a half.

Twins of encoders and of rerankers; the model is left as it is.
"""

from __future__ import annotations

import copy
import logging
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel
from safetensors.torch import save_file

from trident.encoder.kernel_encoder import WEIGHTS_FILE, KernelEncoder, kernels_fault
from trident.encoder.text import TextContract
from trident.errors import ModelError
from trident.ranking.pair_scorer import KernelScorer, reranker_fault

FEWEST_TEXTS = 1000  # fewer, or fewer pairs, are run by PyTorch before the weights are copied

OF_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.*)")

Weights = dict[str, torch.Tensor]
Twin = TypeVar("Twin")

logger = logging.getLogger(__name__)


def kernel_twin(model: Any, contract: TextContract, *, layers: range | None = None) -> KernelEncoder | None:
    """Return a float32 encoder's weights of this moment on the kernels; None where they do not run it, or a GPU has it.

    Args:
        model: A bare transformers model or one with adapters.
        contract: Gives the pooling.
        layers: Of a BERT or RoBERTa, which of its layers the twin has; None: all.
    """

    def load(folder: Path, threads: int) -> KernelEncoder:
        return KernelEncoder.load(folder, contract, threads=threads)

    return _twin(model, kernels_fault, load, lambda weights: weights if layers is None else _of_layers(weights, layers))


def pair_twin(model: Any) -> KernelScorer | None:
    """Return a float32 reranker's weights of this moment on the kernels; None as for ``kernel_twin``.

    Args:
        model: A transformers model with one logit, bare or with adapters.
    """

    def load(folder: Path, threads: int) -> KernelScorer:
        return KernelScorer.load(folder, threads=threads)

    return _twin(model, reranker_fault, load, lambda weights: weights)


def _twin(
    model: Any,
    fault_of: Callable[[Path], str | None],
    load: Callable[[Path, int], Twin],
    chosen: Callable[[Weights], Weights],
) -> Twin | None:
    if next(model.parameters()).device.type != "cpu":
        return None
    with tempfile.TemporaryDirectory(prefix="trident-twin-") as scratch:
        folder = Path(scratch)
        model.config.save_pretrained(folder)
        (folder / WEIGHTS_FILE).touch()  # before the weights are written: whether it would be run
        if (fault := fault_of(folder)) is not None:
            logger.debug("judged by PyTorch: %s", fault)
            return None
        whole = _without_adapters(model)
        weights = {name: value.detach().contiguous() for name, value in whole.state_dict().items()}
        save_file(chosen(weights), folder / WEIGHTS_FILE)
        try:
            return load(folder, torch.get_num_threads())
        except ModelError as error:  # an architecture of their name with other layers
            logger.debug("judged by PyTorch: %s", error)
            return None


def _without_adapters(model: Any) -> Any:
    """Return the model with its adapters in its weights, or without them where they are disabled just now."""
    if not isinstance(model, PeftModel):
        return model
    copied = copy.deepcopy(model)
    return copied.merge_and_unload() if model.get_model_status().enabled else copied.unload()


def _of_layers(weights: Weights, layers: range) -> Weights:
    """Return the weights of some layers, numbered from 0, and of what belongs to none."""
    chosen = {}
    for name, value in weights.items():
        found = OF_LAYER.match(name)
        if found is None:
            chosen[name] = value
        elif int(found[1]) in layers:
            chosen[f"encoder.layer.{int(found[1]) - layers.start}.{found[2]}"] = value
    return chosen
