"""The text contract: how a query and a product title become the text that the encoder reads.

Chosen in the recipe, saved beside the model as ``text.json``, hashed, and carried unchanged through export into
serving. Training, evaluation, catalogue embedding and the served tokenizer all call the code of this module.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from trident.config import from_table
from trident.errors import ConfigError, DataError, ModelError

TEXT_CONTRACT_FILE = "text.json"
SLOT = "{text}"
Side = Literal["query", "product"]


@dataclass(frozen=True, kw_only=True)
class TextContract:
    """The rules that turn raw text into encoder input, and token embeddings into one embedding.

    Raises:
        ConfigError: If a template has not exactly one ``{text}``, or a length is too short to hold a token.
    """

    query_template: str = SLOT  # E5 needs "query: {text}"
    product_template: str = SLOT  # E5 needs "passage: {text}"
    query_max_tokens: int = 64  # special tokens included
    product_max_tokens: int = 128  # special tokens included
    pooling: Literal["mean", "cls"] = "mean"  # over the tokens that the attention mask keeps
    lowercase: bool = False  # before the template; an uncased tokenizer lower-cases by itself

    def __post_init__(self) -> None:
        """Check the templates and the lengths."""
        for name in ("query_template", "product_template"):
            template = getattr(self, name)
            if template.count(SLOT) != 1:
                raise ConfigError(f"{name} must contain {SLOT} exactly once, got {template!r}")
        for name in ("query_max_tokens", "product_max_tokens"):
            if getattr(self, name) < 3:
                raise ConfigError(
                    f"{name} must be >= 3 (two special tokens and one of text), got {getattr(self, name)}"
                )

    def render(self, text: str, side: Side) -> str:
        """Return the text that the tokenizer reads for a raw query or product title.

        White space is trimmed and collapsed, so that ``" usb  cable"`` and ``"usb cable"`` are one text.

        Raises:
            DataError: If nothing but white space is left.
        """
        cleaned = " ".join(text.split())
        if not cleaned:
            raise DataError(f"{side} must not be empty, got {text!r}")
        if self.lowercase:
            cleaned = cleaned.lower()
        template = self.query_template if side == "query" else self.product_template
        return template.replace(SLOT, cleaned)

    def max_tokens(self, side: Side) -> int:
        """Return the length in tokens, special tokens included, at which a side is cut off."""
        return self.query_max_tokens if side == "query" else self.product_max_tokens

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the contract, hexadecimal; equal contracts have equal fingerprints."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``text.json`` into a folder."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False)
        (folder / TEXT_CONTRACT_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TextContract:
        """Read ``text.json`` of a folder.

        Raises:
            ModelError: If the file is missing or no JSON.
            ConfigError: If a key is unknown or a value breaks a rule.
        """
        path = folder / TEXT_CONTRACT_FILE
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelError(f"text contract {path} is missing: train or export the model again") from error
        except json.JSONDecodeError as error:
            raise ModelError(f"text contract {path} is not JSON: {error}") from error
        return from_table(cls, table, where=str(path))
