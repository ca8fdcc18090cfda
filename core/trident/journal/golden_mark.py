"""The mark of a request that is asked of the base alone: golden queries, whose answers were stored at the export.

With a live catalogue the mark carries what only holders of the write key can make: else anybody who may search could
read deleted products.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from trident.generation.golden import GOLDEN_REQUEST
from trident.journal.folder import LiveFolder


def golden_request(generations: Path) -> str:
    """Return the id of requests that ask golden queries of a server of a folder of generations."""
    folder = LiveFolder.of(generations)
    if not folder.key_path.is_file():
        return GOLDEN_REQUEST
    key = folder.key_path.read_text(encoding="utf-8").strip()
    return f"{GOLDEN_REQUEST}-{hmac.new(key.encode(), GOLDEN_REQUEST.encode(), hashlib.sha256).hexdigest()[:32]}"


def is_golden(request_id: str, live: str | None) -> bool:
    """Return whether a request is asked of the base alone.

    Args:
        request_id: Of Triton's request.
        live: The folder of generations, where the catalogue is live; None or empty: it is not.
    """
    if not request_id.startswith(GOLDEN_REQUEST):
        return False
    if not live:  # the folder may have a key all the same, of another time
        return True
    return hmac.compare_digest(request_id.encode(), golden_request(Path(live)).encode())
