"""Which generation a new one is held against when it is exported: the one that is serving, else the newest."""

from __future__ import annotations

from pathlib import Path

from trident.generation.generation import Generation, list_generations, other_formats
from trident.generation.state import serving_folders


def baseline(generations: Path) -> Generation | None:
    """Return the generation that a server of a folder serves, or served when it was stopped, else the newest there.

    One of another version of Trident cannot be asked, and is not passed over: comparing with another would hide that.

    Of several servers, the one that switched last counts. A state whose generation was removed since counts for none.

    Returns:
        None where the folder holds no generation.

    Raises:
        FormatError: If another version of Trident made it.
        GenerationError: If a manifest is damaged.
        ServerError: If a state is.
    """
    found = {generation.id: generation for generation in list_generations(generations)}
    others = {path.name: error for path, error in other_formats(generations).items()}
    states = [state for folder in serving_folders(generations) if (state := folder.state()) is not None]
    there = [state for state in states if state.serving in found or state.serving in others]
    if there:
        serving = max(there, key=lambda state: state.switched).serving
        if serving in others:
            raise others[serving]
        return found[serving]
    if others and not found:
        raise others[min(others)]
    return max(found.values(), key=lambda generation: generation.serial, default=None)
