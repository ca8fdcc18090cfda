"""The index that a generation's products are found by is of its encoder, or its folder is refused."""

from __future__ import annotations

from pathlib import Path

from trident.errors import GenerationError, VectorIndexError
from trident.generation.generation import IDENTITY_FILE, Identity
from trident.index.files import index_encoder


def check_encoder(folder: Path, identity: Identity) -> None:
    """Raise if the index of a version folder is of another encoder, and say of which generation each side is."""
    found = index_encoder(folder)
    if found != identity.encoder_fingerprint:
        raise VectorIndexError(
            f"generation {identity.id} (serial {identity.serial}, encoder {identity.encoder_fingerprint[:12]}) must "
            f"have an index of its own encoder, got one of encoder {found[:12]}, that of "
            f"{_loaded_with(folder, found)} ({folder}): export again"
        )


def _loaded_with(folder: Path, encoder_fingerprint: str) -> str:
    """Name the generations of the other version folders that have an encoder."""
    names = []
    for path in sorted(folder.parent.glob(f"*/{IDENTITY_FILE}")):
        try:
            other = Identity.load(path.parent)
        except GenerationError:  # damaged: it is not what is refused here
            continue
        if path.parent != folder and other.encoder_fingerprint == encoder_fingerprint:
            names.append(f"generation {other.id} (serial {other.serial})")
    return " and ".join(names) or "no generation loaded here"
