"""The rules that hold for a folder of generations: one file beside them, replaced whole, that every instance reads.

generations/.rules/
    rules.json       version, time, the name of the file that they come from, the rules
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trident.config import from_table, to_table
from trident.errors import ConfigError, DataError
from trident.generation.durable import make_folder
from trident.generation.staging import write_text
from trident.rules.ruleset import RuleSet, version_of

RULES = "TRIDENT_RULES"  # where the file is; a variable of the server's process
RULES_FOLDER = ".rules"
RULES_FILE = "rules.json"


@dataclass(frozen=True, kw_only=True)
class PublishedRules:
    """Rules that hold, since when, and the name of the file that they were read from."""

    rules: RuleSet
    version: str
    applied_at: str  # ISO 8601, UTC
    source: str


def published_path(generations: Path) -> Path:
    """Return where the rules of a folder of generations are."""
    return generations / RULES_FOLDER / RULES_FILE


def write_published(path: Path, rules: RuleSet, source: str) -> PublishedRules:
    """Put rules in the place of those that hold; whoever reads sees the old ones or these, after a power cut too.

    Raises:
        OSError: If they cannot be written; the old ones hold then.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = PublishedRules(rules=rules, version=rules.version, applied_at=now, source=source)
    make_folder(path.parent)
    write_text(path, json.dumps({**asdict(made), "rules": to_table(rules)}, indent=1, ensure_ascii=False) + "\n")
    return made


def read_published(path: Path) -> PublishedRules | None:
    """Return the rules that hold; None: none do.

    Raises:
        DataError: If the file is damaged.
    """
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
        found = from_table(PublishedRules, table, where=str(path))
        if (version := version_of(table["rules"])) != found.version:
            raise ConfigError(f"the rules must have version {found.version}, got {version}")
        return found
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, ConfigError) as error:
        raise DataError(f"rules {path} are damaged: {error}; apply them again") from error


class RulesReader:
    """Reads the rules that hold, again whenever they are others.

    Args:
        path: Of the published file.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self._path = path
        self._seen: tuple[int, ...] | None = None

    def news(self) -> bool:
        """Return whether the file is another than at the last call: one question to the system."""
        try:
            found = self._path.stat()
            identity: tuple[int, ...] = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            identity = ()
        if identity == self._seen:
            return False
        self._seen = identity
        return True

    def forget(self) -> None:
        """Have the file be news again: it could not be read."""
        self._seen = None

    def read(self) -> RuleSet:
        """Return the rules; none where there is no file.

        Raises:
            DataError: If the file is damaged.
        """
        found = read_published(self._path)
        return RuleSet() if found is None else found.rules
