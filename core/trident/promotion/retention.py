"""Removes old generations from disk; never one that serves, served before, or is loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from trident.cluster.store import store_of
from trident.errors import ConfigError
from trident.generation.generation import Generation, list_generations, other_formats
from trident.generation.serials import generations_lock
from trident.generation.staging import scratch_folder
from trident.generation.state import serving_folders
from trident.journal.retention import cut_log
from trident.server.runtime_repository import linked_generations


def prune(generations: Path, *, keep: int, only: Callable[[Generation], bool] | None = None) -> list[str]:
    """Remove all but the newest generations and those that a server needs, and return the ids that were removed.

    Those that an earlier Trident made go too: nothing but a server that still has them loaded can use them. So does the
    part of a live catalogue's log that nothing needs any more, and what a store has of those that are removed.

    Args:
        generations: The folder of generations.
        keep: How many of the newest stay.
        only: Says which are looked at; None: all, and those of other formats.

    Raises:
        ConfigError: If ``keep`` is less than 1.
        GenerationError: If a manifest is damaged.
        ServerError: If a promotion is under way.
        StoreError: If a store that has products of theirs is away: nothing was removed then.
    """
    check_keep(keep)
    with ExitStack() as stack:
        stack.enter_context(generations_lock(generations))
        for folder in serving_folders(generations):
            stack.enter_context(folder.lock())
        needed = protected_ids(generations)
        if only is None:
            old = [*other_formats(generations), *(found.folder for found in list_generations(generations)[:-keep])]
        else:
            old = [found.folder for found in list_generations(generations) if only(found)][:-keep]
        removed = [path for path in old if path.name not in needed]
        stored = [each for each in list_generations(generations) if each.folder in removed and store_of(each)]
        if stored:
            from trident.cluster.loaded import remove_collections  # a store's client is an extra

            remove_collections(stored)
        with scratch_folder(generations, "pruned") as bin_folder:  # a kill leaves a whole generation or none
            for path in removed:
                path.rename(bin_folder / path.name)
        cut_log(generations)
    return [path.name for path in removed]


def check_keep(keep: int) -> None:
    """Refuse to keep none.

    Raises:
        ConfigError: If ``keep`` is less than 1.
    """
    if keep < 1:
        raise ConfigError(f"the number of generations to keep must be >= 1, got {keep}")


def protected_ids(generations: Path) -> set[str]:
    """Return the ids of the generations that a server, running or not, serves, served before, or has loaded.

    Raises:
        ServerError: If a state is damaged.
        GenerationError: If an identity in a runtime repository is damaged.
    """
    ids: set[str] = set()
    for folder in serving_folders(generations):
        state = folder.state()
        if state is not None:
            ids |= {state.serving, *([] if state.previous is None else [state.previous])}
        ids |= set(linked_generations(folder.models).values())
    return ids
