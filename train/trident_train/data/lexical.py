"""bm25s, imported where it is needed."""

from __future__ import annotations

import os
from typing import Any


def load_bm25s() -> Any:
    """Return the module bm25s, with its stop words.

    It imports JAX where that is installed, which would keep three quarters of a GPU's memory to itself: JAX is told to
    stay on the CPU, unless the variable ``JAX_PLATFORMS`` says otherwise.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import bm25s
    import bm25s.stopwords

    return bm25s
