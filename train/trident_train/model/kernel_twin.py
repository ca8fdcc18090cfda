"""A trained model as it is now, on Trident's kernels: judging embeds thousands of texts, and they take a third."""

from __future__ import annotations

import copy
import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import save_file

from trident.encoder.kernel_encoder import WEIGHTS_FILE, KernelEncoder, kernels_fault
from trident.encoder.text import TextContract
from trident.errors import ModelError

FEWEST_TEXTS = 1000  # fewer are embedded by PyTorch before the weights are copied

OF_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.*)")

logger = logging.getLogger(__name__)


def kernel_twin(model: Any, contract: TextContract, *, layers: range | None = None) -> KernelEncoder | None:
    """Return a float32 model's weights of this moment on the kernels; None where they do not run it, or a GPU has it.

    Args:
        model: A bare transformers model or one with adapters, which is left as it is.
        contract: Gives the pooling.
        layers: Of a BERT or RoBERTa, which of its layers the twin has; None: all.
    """
    if next(model.parameters()).device.type != "cpu":
        return None
    with tempfile.TemporaryDirectory(prefix="trident-twin-") as scratch:
        folder = Path(scratch)
        model.config.save_pretrained(folder)
        (folder / WEIGHTS_FILE).touch()  # before the weights are written: whether it would be run
        if (fault := kernels_fault(folder)) is not None:
            logger.debug("judged by PyTorch: %s", fault)
            return None
        whole = copy.deepcopy(model).merge_and_unload() if isinstance(model, PeftModel) else model
        weights = {name: value.detach().contiguous() for name, value in whole.state_dict().items()}
        if layers is not None:
            weights = _of_layers(weights, layers)
        save_file(weights, folder / WEIGHTS_FILE)
        try:
            return KernelEncoder.load(folder, contract, threads=torch.get_num_threads())
        except ModelError as error:  # an architecture of their name with other layers
            logger.debug("judged by PyTorch: %s", error)
            return None


def _of_layers(weights: dict[str, torch.Tensor], layers: range) -> dict[str, torch.Tensor]:
    """Return the weights of some layers, numbered from 0, and of what belongs to none."""
    chosen = {}
    for name, value in weights.items():
        found = OF_LAYER.match(name)
        if found is None:
            chosen[name] = value
        elif int(found[1]) in layers:
            chosen[f"encoder.layer.{int(found[1]) - layers.start}.{found[2]}"] = value
    return chosen
