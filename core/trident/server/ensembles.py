"""The ensembles of the repository that a running server reads: those that serve, and a candidate beside them.

They hold the serving generation only, their steps pinned to it. With a response cache ``search`` has one step, an
ensemble that caches, and asks it for everything.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trident.errors import GenerationError
from trident.generation.generation import Generation
from trident.generation.staging import scratch_folder, staged_folder
from trident.server.contract import around
from trident.server.models import CANDIDATE, CONFIG_FILE, SEARCH, cached_ensemble, ensembles_in, link_files

CACHE_CONFIG = "response_cache { enable: true }\n"


def point_ensembles(models: Path, generation: Generation, *, variant: str, cache: bool) -> None:
    """Make the ensembles those of a generation; the server sees it when they are loaded.

    One that the generation lacks stays as it is: the server answers with it until it is unloaded.

    With a cache a running server must have loaded the generation's cached ensemble before (``add_cached``). Loading a
    model reloads whatever depends on a changed one, with the versions that its folder has by then and the
    configuration that it had (seen on 2.51): a ``search`` that was written already would answer with its new version
    from its old step.

    Args:
        models: The repository.
        generation: The one to answer.
        variant: Of the server.
        cache: Whether answers of ``search`` are cached.

    Raises:
        TridentError: If a folder cannot be written.
    """
    for ensemble in ensembles_in(generation.repository):
        text = ensemble_config(generation, ensemble, variant).read_text(encoding="utf-8")
        if cache and ensemble == SEARCH:
            text = around(text, cached_ensemble(generation.serial), generation.serial)
        _write_ensemble(models / ensemble, generation, ensemble, text)


def add_cached(models: Path, generation: Generation, *, variant: str) -> None:
    """Add the ensemble that answers for a generation and whose answers are cached; ``search`` asks it for everything.

    Triton's cache does not know which outputs were asked for: with only some of them in it, nobody would get the others
    any more (seen on 2.51). It is a model of its own for each generation, so that both answer during a switch.

    Raises:
        GenerationError: If the generation's ``search`` has no name to replace.
        TridentError: If a folder cannot be written.
    """
    name = cached_ensemble(generation.serial)
    _write_ensemble(models / name, generation, SEARCH, _renamed(generation, name, variant) + CACHE_CONFIG)


def remove_cached(models: Path, serial: int) -> None:
    """Remove the ensemble that caches a generation's answers, should there be one."""
    shutil.rmtree(models / cached_ensemble(serial), ignore_errors=True)


@contextmanager
def ensembles_aside(models: Path) -> Iterator[Path]:
    """Yield a folder with copies of the ensembles as they are, for ``restore_ensembles``.

    Raises:
        OSError: If they cannot be copied.
        TridentError: If the folder cannot be made.
    """
    with scratch_folder(models.parent, "ensembles") as aside:
        for ensemble in ensembles_in(models):
            shutil.copytree(models / ensemble, aside / ensemble, symlinks=True)
        yield aside


def restore_ensembles(models: Path, aside: Path) -> None:
    """Make the ensembles what they were when they were set aside; it renames only, and needs no space on the disk.

    Raises:
        OSError: If a folder cannot be renamed.
    """
    for ensemble in ensembles_in(aside):
        replaced = models / ensemble
        if replaced.exists():
            replaced.rename(aside / f"{ensemble}-replaced")
        (aside / ensemble).rename(replaced)


def add_candidate(models: Path, generation: Generation, *, variant: str) -> None:
    """Add an ensemble that answers like ``search`` will when the generation serves; nothing of it is cached.

    Raises:
        GenerationError: If the generation's ``search`` has no name to replace.
        TridentError: If a folder cannot be written.
    """
    _write_ensemble(models / CANDIDATE, generation, SEARCH, _renamed(generation, CANDIDATE, variant))


def remove_candidate(models: Path) -> None:
    """Remove the candidate."""
    shutil.rmtree(models / CANDIDATE, ignore_errors=True)


def ensemble_config(generation: Generation, ensemble: str, variant: str) -> Path:
    """Return the configuration file that an ensemble of a generation has in a variant."""
    folder = generation.repository / ensemble
    own = folder / "configs" / f"{variant}.pbtxt"
    return own if own.is_file() else folder / CONFIG_FILE


def _renamed(generation: Generation, name: str, variant: str) -> str:
    """Return the configuration of a generation's ``search`` under another name."""
    config = ensemble_config(generation, SEARCH, variant)
    text = config.read_text(encoding="utf-8")
    text, replaced = re.subn(rf'^name: "{SEARCH}"$', f'name: "{name}"', text, count=1, flags=re.MULTILINE)
    if not replaced:
        place = config.relative_to(generation.repository)
        raise GenerationError(f"generation {generation.id}: {place} must name '{SEARCH}'; export again")
    return text


def _write_ensemble(target: Path, generation: Generation, ensemble: str, config: str) -> None:
    with staged_folder(target, overwrite=True, lasting=False) as staging:
        (staging / CONFIG_FILE).write_text(config, encoding="utf-8")
        folder = staging / str(generation.serial)
        folder.mkdir()
        link_files(generation.version_folder(ensemble), folder)
