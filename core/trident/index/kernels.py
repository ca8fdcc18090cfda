"""The index's kernels (``kernels/``), where they are installed."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

logger = logging.getLogger(__name__)


@cache
def kernels() -> Any | None:
    """Return the module, or None where it is not installed, or an earlier version is.

    Said once, since everything is compared in NumPy then.
    """
    try:
        import trident_index_kernels  # here: an index is searched without them too, only slower
    except ImportError as error:
        logger.warning(
            "the index's kernels are not installed (%s): every vector is compared with every query, which is exact and "
            "slow; install them: pip install ./kernels",
            error,
        )
        return None
    if not hasattr(trident_index_kernels.Index, "vectors"):
        logger.warning(
            "the index's kernels are those of an earlier version: every vector is compared with every query, which is "
            "exact and slow; install them again: pip install ./kernels"
        )
        return None
    return trident_index_kernels
