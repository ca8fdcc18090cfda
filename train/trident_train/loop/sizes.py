"""Sizes of memory as people write them."""

from __future__ import annotations

import re

from trident.errors import ConfigError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``4GiB``, ``3.5GB`` or ``800M``.

    Raises:
        ConfigError: If it is no size, or less than a byte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE)
    size = 0 if match is None else int(float(match[1]) * UNITS[(match[2] or "").upper()])
    if size < 1:
        raise ConfigError(f"a size must be a number of bytes with a unit, such as 4GiB or 3.5GB, got '{text}'")
    return size
