"""Which models a server has, by name: components, the ensembles made of them, and what stands between for a while."""

from __future__ import annotations

from pathlib import Path

PIPELINE = "pipeline"  # all stages in one process
STAGES = ("tokenizer", "encoder", "retriever")
COMPONENTS = (*STAGES, PIPELINE)
SEARCH = "search"
ENSEMBLES = (SEARCH, "embed")  # of every generation
FURTHER_ENSEMBLES = ("suggest",)  # that not every generation has
CATALOGUE = "catalogue"  # the writer of a live catalogue, of no generation
CANDIDATE = "candidate"  # search of a generation that does not serve yet
CACHED = "cached_"  # in front of a serial number: that generation's search, whose answers are cached
ONE_PROCESS = "cpu"  # the variant whose ensembles have the pipeline as their only step
CONFIG_FILE = "config.pbtxt"


def loaded_components(variant: str) -> tuple[str, ...]:
    """Return the components that a server of a variant loads of every generation."""
    return (PIPELINE,) if variant == ONE_PROCESS else STAGES


def further_models(repository: Path) -> tuple[str, ...]:
    """Return the models of a repository that not every generation has; a server loads all of them.

    They are components as the others: every loaded generation's version of them is loaded, and their configuration is
    the same in all that have them.
    """
    known = (*COMPONENTS, *ENSEMBLES, *FURTHER_ENSEMBLES, CANDIDATE, CATALOGUE)
    found = [path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}")]
    return tuple(sorted(name for name in found if name not in known and not name.startswith(CACHED)))


def ensembles_in(repository: Path) -> tuple[str, ...]:
    """Return the ensembles of a repository: ``search`` first, those that not every generation has last."""
    return (*ENSEMBLES, *(name for name in FURTHER_ENSEMBLES if (repository / name / CONFIG_FILE).is_file()))


def cached_ensemble(serial: int) -> str:
    """Return the name of the ensemble that caches the answers of one generation."""
    return f"{CACHED}{serial}"


def link_files(source: Path, target: Path) -> None:
    """Put links to the files of a version folder into another."""
    for file in source.iterdir():
        (target / file.name).symlink_to(file.resolve())
    (target / "__pycache__").touch()  # a file, so that Python cannot leave byte code there
