"""Which generation a new one is held against when it is exported: the one that is serving, else the newest."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from trident.errors import GenerationError
from trident.generation import Generation, list_generations

STATES = ".serving/*/state.json"  # one a server of the folder; trident.serving writes them


def baseline(generations: Path) -> Generation | None:
    """Return the generation that a server of a folder serves, or served when it was stopped, else the newest there.

    Of several servers, the one that switched last counts. A state whose generation was removed since counts for none.

    Returns:
        None where the folder holds no generation.

    Raises:
        GenerationError: If a state or a manifest is damaged.
    """
    found = {generation.id: generation for generation in list_generations(generations)}
    states = [state for path in sorted(generations.glob(STATES)) if (state := _read(path))[1] in found]
    if states:
        return found[max(states)[1]]
    return max(found.values(), key=lambda generation: generation.serial, default=None)


def _read(path: Path) -> tuple[datetime, str]:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return datetime.fromisoformat(state["switched_at"]), str(state["serving"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GenerationError(f"{path} is damaged: {error!r}; remove it, and start trident serve again") from error
