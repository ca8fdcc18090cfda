"""Which server writes to a live catalogue: its addresses, in a file beside the log, for those that follow it.

Who writes is decided by the folder's lock alone; this says where to find it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from trident.config import from_table
from trident.errors import ConfigError
from trident.generation.staging import write_text
from trident.generation.state import ServingFolder

FILE = "leader.json"


@dataclass(frozen=True, kw_only=True)
class Leader:
    """A server that writes, or did until it ended.

    Attributes:
        grpc: Its address, HOST:PORT.
        http: Its address.
        serving: The folder of its state.
    """

    grpc: str
    http: str
    serving: str

    @classmethod
    def of(cls, serving: ServingFolder) -> Leader | None:
        """Return the server that is ready over a folder of state; None: none is."""
        record = serving.server()
        if record is None:
            return None
        return cls(grpc=record.grpc, http=record.http, serving=str(serving.path.resolve()))

    @classmethod
    def read(cls, live: Path) -> Leader | None:
        """Return the one that is written down in the folder of a live catalogue; None: nobody is."""
        try:
            return from_table(cls, json.loads((live / FILE).read_text(encoding="utf-8")), where=FILE)
        except (OSError, ValueError, ConfigError):
            return None

    def write(self, live: Path) -> None:
        """Write it down.

        Raises:
            OSError: If the disk refuses.
        """
        write_text(live / FILE, json.dumps(asdict(self)) + "\n")

    def is_at(self, serving: ServingFolder) -> bool:
        """Return whether it is the server of a folder of state."""
        return self.serving == str(serving.path.resolve())
