"""What is watched while a generation serves, as options of ``trident serve``.

They reach the served models as variables of the server's process; the models read them when they are loaded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ConfigError

CANARY_SHARE = "TRIDENT_CANARY_SHARE"
QUERY_LOG = "TRIDENT_QUERY_LOG"
QUERY_LOG_BYTES = "TRIDENT_QUERY_LOG_BYTES"


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """What is watched beside the counters, which are always there.

    Raises:
        ConfigError: If the share is not 0 to 1 or the size too small.
    """

    canary_share: float = 0.0  # of the queries, searched exactly too; 0: none
    query_log: Path | None = None  # file; None: queries are not written down
    query_log_bytes: int = 64 * 2**20  # at which it is put aside; twice that is kept at most

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.canary_share <= 1:
            raise ConfigError(f"--canary-share must be 0 to 1, got {self.canary_share:g}")
        if self.query_log_bytes < 1:
            raise ConfigError(f"the query log must hold at least 1 byte, got {self.query_log_bytes}")

    def environment(self) -> dict[str, str]:
        """Return the variables that tell the models."""
        variables = {CANARY_SHARE: str(self.canary_share), QUERY_LOG_BYTES: str(self.query_log_bytes)}
        variables[QUERY_LOG] = "" if self.query_log is None else str(self.query_log.resolve())
        return variables

    @classmethod
    def from_environment(cls) -> WatchOptions:
        """Return what this process was told.

        Raises:
            ConfigError: If a variable is no number or out of its range.
        """
        share, log = os.environ.get(CANARY_SHARE) or "0", os.environ.get(QUERY_LOG)
        size = os.environ.get(QUERY_LOG_BYTES) or str(cls.query_log_bytes)
        try:
            numbers = float(share), int(size)
        except ValueError as error:
            raise ConfigError(
                f"{CANARY_SHARE} and {QUERY_LOG_BYTES} must be numbers, got '{share}' and '{size}'"
            ) from error
        return cls(canary_share=numbers[0], query_log=Path(log) if log else None, query_log_bytes=numbers[1])
