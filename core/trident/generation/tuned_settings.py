"""Settings that ``trident tune`` found on a machine, beside the generations of a folder.

generations/.tuning/<variant>-<cores>.json

A generation is never written to, and the best settings belong to a machine more than to a generation: every server of
the folder that runs the same variant on as many cores takes them.
"""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident.config import from_table, to_table
from trident.errors import ConfigError
from trident.generation.durable import make_folder
from trident.generation.staging import write_text
from trident.generation.tuning import UNTUNED, VARIANT, Tuning

TUNING_FOLDER = ".tuning"
AUTO, NONE = "auto", "none"  # of --tuning; anything else is a file
CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the best settings depend on."""

    cores: int  # that this process may use
    cpu: str  # the maker's name of it

    @classmethod
    def here(cls) -> Machine:
        """Return this machine."""
        facts = CPU_FACTS.read_text(encoding="utf-8") if CPU_FACTS.is_file() else ""
        named = re.search(r"^model name\s*:\s*(.+)$", facts, flags=re.MULTILINE)
        return cls(cores=len(os.sched_getaffinity(0)), cpu=named[1] if named else platform.machine())


@dataclass(frozen=True, kw_only=True)
class TunedSettings:
    """What was found, where and how."""

    settings: Tuning  # nothing in it: what was exported is best
    variant: str
    machine: Machine
    generation: str  # id of the one that was served for it
    tuned_at: str  # ISO 8601, UTC
    measured: dict[str, Any]  # clients, bound, figures of these settings and of the exported ones

    def __post_init__(self) -> None:
        """Check the variant."""
        if self.variant != VARIANT:
            raise ConfigError(f"settings must be tuned for the variant {VARIANT}, got '{self.variant}'")

    def save(self, path: Path) -> None:
        """Write them as JSON; the folder is made, and a reader sees the old file or the new."""
        make_folder(path.parent)
        write_text(path, json.dumps(to_table(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> TunedSettings:
        """Return the settings of a file.

        Raises:
            ConfigError: If it is missing or damaged, or a setting is unknown or out of its range.
        """
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"tuned settings {path} cannot be read ({error}): run trident tune again, or serve with --tuning none"
            ) from error
        return from_table(cls, table, where=f"tuned settings {path}; --tuning none serves without them")


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The settings to serve with, and a line that says why; empty where there is nothing to say."""

    settings: Tuning
    line: str = ""


def settings_path(generations: Path, machine: Machine, variant: str = VARIANT) -> Path:
    """Return the file of a machine's settings; it may not be there."""
    return generations / TUNING_FOLDER / f"{variant}-{machine.cores}.json"


def choose(generations: Path, tuning: str, *, variant: str, machine: Machine) -> Chosen:
    """Return the settings that a server takes.

    Args:
        generations: The folder of generations.
        tuning: ``auto``: those that were found on as many cores for the same variant; ``none``; or a file as ``trident
            tune`` writes it, whatever machine it is of.
        variant: Of the server.
        machine: Where it runs.

    Raises:
        ConfigError: If a file cannot be used, or is named for a variant that has no knobs.
    """
    if tuning == NONE:
        return Chosen(settings=UNTUNED)
    if tuning != AUTO:
        if variant != VARIANT:
            raise ConfigError(f"--tuning takes a file with --variant {VARIANT} only, got {variant}: leave one out")
        return _found(TunedSettings.load(Path(tuning)), machine)
    path = settings_path(generations, machine)
    others = sorted((generations / TUNING_FOLDER).glob("*.json"))
    if variant == VARIANT and path.is_file():
        return _found(TunedSettings.load(path), machine)
    if not others:
        return Chosen(settings=UNTUNED)
    there = ", ".join(each.stem.replace("-", " with ") for each in others)
    return Chosen(
        settings=UNTUNED,
        line=f"no tuned settings for {variant} with {machine.cores} cores (there are those for {there}): those of the "
        "export hold",
    )


def _found(found: TunedSettings, machine: Machine) -> Chosen:
    other = "" if found.machine == machine else f", tuned on {found.machine.cores} cores of {found.machine.cpu}"
    return Chosen(
        settings=found.settings,
        line=f"tuned settings of {found.tuned_at[:10]} (generation {found.generation}{other}): {found.settings}",
    )
