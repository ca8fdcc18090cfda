"""Where the sample's random choices come from."""

from __future__ import annotations

from random import Random


def seeded(seed: int, purpose: str) -> Random:
    """Return a generator for one purpose, so that a word added to one vocabulary leaves the other products alone.

    A text as seed is hashed by SHA-512, never by ``hash``: the interpreter's hash seed changes nothing.
    """
    return Random(f"{seed}/{purpose}")  # noqa: S311  (invents products, not secrets)
