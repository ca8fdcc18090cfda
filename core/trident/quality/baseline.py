"""Which generation a new one is held against when it is exported: the one that is serving, else the newest."""

from __future__ import annotations

from pathlib import Path

from trident.generation.generation import Generation, list_generations
from trident.generation.state import serving_folders


def baseline(generations: Path) -> Generation | None:
    """Return the generation that a server of a folder serves, or served when it was stopped, else the newest there.

    Of several servers, the one that switched last counts. A state whose generation was removed since counts for none.

    Returns:
        None where the folder holds no generation.

    Raises:
        GenerationError: If a manifest is damaged.
        ServerError: If a state is.
    """
    found = {generation.id: generation for generation in list_generations(generations)}
    states = [state for folder in serving_folders(generations) if (state := folder.state()) is not None]
    there = [state for state in states if state.serving in found]
    if there:
        return found[max(there, key=lambda state: state.switched).serving]
    return max(found.values(), key=lambda generation: generation.serial, default=None)
