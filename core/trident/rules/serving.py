"""Which rules a server answers by: those that hold for its folder of generations; with a cache, those of its start."""

from __future__ import annotations

import shutil
from pathlib import Path

from trident.generation.state import ServingFolder
from trident.rules.applying import require_answered
from trident.rules.published import RULES, published_path, read_published

FROZEN = "rules.json"  # in the server's folder: with a cache, whose answers know nothing of rules


def require_rules(generations: Path, *, variant: str) -> None:
    """Refuse to serve without the rules that hold.

    Args:
        generations: The folder of generations.
        variant: Of the server.

    Raises:
        ServerError: If a server of this kind does not answer by them.
        DataError: If they are damaged.
    """
    found = read_published(published_path(generations))
    if found is not None:
        require_answered(found.rules, variant=variant)


def environment(folder: ServingFolder, *, cache: bool) -> dict[str, str]:
    """Return the variable that tells the served models where the rules are."""
    path = folder.path / FROZEN if cache else published_path(folder.path.parents[1])
    return {RULES: str(path.resolve())}


def freeze(folder: ServingFolder) -> None:
    """Keep a copy of the rules that hold now, for a server whose cache would not see that others do.

    Raises:
        OSError: If it cannot be written.
    """
    thaw(folder)
    path = published_path(folder.path.parents[1])
    if path.is_file():
        shutil.copyfile(path, folder.path / FROZEN)


def thaw(folder: ServingFolder) -> None:
    """Remove the copy, should there be one."""
    (folder.path / FROZEN).unlink(missing_ok=True)
