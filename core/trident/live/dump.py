"""The whole catalogue at a number, as a file that an export reads: base and log together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from trident.errors import LiveError
from trident.generation.staging import write_text
from trident.live.operations import Product
from trident.live.state import State

SUFFIX = ".jsonl"


def write_dump(state: State, ids: Iterable[str], path: Path) -> int:
    """Write every product of a catalogue, one JSON object a line, and return how many there are.

    Args:
        state: The catalogue.
        ids: Of every product that may be in it.
        path: The file, ``.jsonl``.

    Raises:
        LiveError: If the name ends otherwise, or there is no product.
    """
    if path.suffix != SUFFIX:
        raise LiveError(f"the file of a dump must end in {SUFFIX}, got {path}")
    lines = []
    for product in ids:
        entry = state.find(product)
        if isinstance(entry, Product):
            row = {"product_id": product, "product_title": entry.title, **entry.attributes}
            lines.append(json.dumps(row, ensure_ascii=False))
    if not lines:
        raise LiveError("the catalogue has no product: there is nothing to dump")
    write_text(path, "\n".join(lines) + "\n")
    return len(lines)
