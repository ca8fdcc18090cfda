"""Models with random weights, and what PyTorch embeds rows of tokens as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, PreTrainedConfig

from trident.encoder.pooling import normalize, pool
from trident.encoder.text import TextContract


def saved(config: PreTrainedConfig, folder: Path, *, scale: float = 8, seed: int = 0) -> Path:
    """Save a model whose random weights are large enough for every part of the activations' curves."""
    torch.manual_seed(seed)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embeddings" not in name:
                weight.mul_(scale)
            elif "norm" in name.lower() or name.endswith("bias"):
                weight.add_(torch.randn_like(weight) * 0.1)
    model.save_pretrained(folder)
    return folder


def some_rows(longest: int, *, vocabulary: int, lowest: int = 5) -> list[list[int]]:
    """Return a row of each length up to the longest, and a few more."""
    generator = np.random.default_rng(0)
    lengths = [*range(1, longest + 1), 3, 7, 7]
    return [generator.integers(lowest, vocabulary, size=length).tolist() for length in lengths]


def by_pytorch(folder: Path, rows: list[list[int]], contract: TextContract) -> np.ndarray:
    """Return the embeddings (N, D) of a saved model, each row by itself, by plain attention."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        each = [
            pool(model(torch.tensor([row])).last_hidden_state, torch.ones(1, len(row)), contract.pooling)
            for row in rows
        ]
        return np.asarray(normalize(torch.cat(each)).numpy())
