"""How the last compactions ended, in a file beside the log: what the metrics and the alert of failing ones read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from trident.config import from_table
from trident.errors import ConfigError
from trident.generation.staging import write_text
from trident.journal.folder import LiveFolder

FILE = "compactions.json"
REASON_CHARACTERS = 500


@dataclass(frozen=True, kw_only=True)
class Compactions:
    """How they ended.

    Attributes:
        failures: In a row, since one served.
        reason: Of the last failure; empty where there was none since.
        ended_at: Of the last, ISO 8601, UTC; empty where there was none.
    """

    failures: int = 0
    reason: str = ""
    ended_at: str = ""

    @classmethod
    def read(cls, folder: LiveFolder) -> Compactions:
        """Return what is written down; nothing where that is not there or cannot be read."""
        try:
            return from_table(cls, json.loads((folder.path / FILE).read_text(encoding="utf-8")), where=FILE)
        except (OSError, ValueError, ConfigError):
            return cls()

    def failed(self, folder: LiveFolder, reason: str) -> Compactions:
        """Write down that another one failed, and return it."""
        return Compactions(failures=self.failures + 1, reason=reason[:REASON_CHARACTERS])._written(folder)

    def succeeded(self, folder: LiveFolder) -> Compactions:
        """Write down that one serves, and return it."""
        return Compactions()._written(folder)

    def _written(self, folder: LiveFolder) -> Compactions:
        ended = Compactions(
            failures=self.failures, reason=self.reason, ended_at=datetime.now(UTC).isoformat(timespec="seconds")
        )
        write_text(folder.path / FILE, json.dumps(asdict(ended)) + "\n")
        return ended
