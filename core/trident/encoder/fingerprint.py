"""What an encoder is, as a hash: merged weights, tokenizer and text contract together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from trident.encoder.base_model import weights_fingerprint
from trident.encoder.tokenization import TextTokenizer

PARTS = ("weights", "tokenizer", "text")


def part_fingerprints(merged: Path, tokenizer: TextTokenizer) -> dict[str, str]:
    """Return the hashes of merged weights, tokenizer and text contract, each by its name."""
    return {
        "weights": weights_fingerprint(merged),
        "tokenizer": tokenizer.fingerprint,
        "text": tokenizer.contract.fingerprint,
    }


def encoder_fingerprint(fingerprints: Mapping[str, str]) -> str:
    """Return the hash of merged weights, tokenizer and text contract together."""
    return hashlib.sha256("\n".join(fingerprints[name] for name in PARTS).encode()).hexdigest()
