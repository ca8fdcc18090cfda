"""Where a generation's products are searched: in its own files, or in an engine past one machine, by address.

A generation that says so has ``store.json`` beside its index. Its products are a collection of their own, named by its
id: whatever is asked, is asked of that name. An alias is for people, and nothing here follows one.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trident.config import from_table
from trident.errors import ConfigError, GenerationError
from trident.generation.generation import Generation

STORE_FILE = "store.json"
STORE_KIND = "qdrant"  # a part of a generation; its address changes no answer
ADDRESS = "TRIDENT_STORE"  # an address instead of the one that was exported; a variable of the server's process
KEY = "TRIDENT_STORE_KEY"  # the engine's key; never in a file of ours
PREFIX = "trident-"
GOLDEN = "-golden"  # behind the name of the collection that answers golden queries
TIMEOUTS_S = (0.1, 60.0)
WRITE_TIMEOUT_S, LOAD_TIMEOUT_S = 10.0, 60.0  # of a write behind the log, and of a batch of a load, at least


@dataclass(frozen=True, kw_only=True)
class Store:
    """An engine by address, and how a generation lies in it.

    Attributes:
        address: Such as ``http://10.0.0.5:6333``.
        timeout_s: For one request; after it the engine is away.
        shards: Parts of a collection, which lie on different machines.
        replicas: Copies of each part; more than half must take a write, and answer a read.
        ef: Candidates of the engine's graph, unless a query says otherwise.
        m: Links a vector of that graph.
        in_8_bits: Whether the engine walks over codes in memory, and keeps vectors on disk.
    """

    address: str
    timeout_s: float = 2.0
    shards: int = 1
    replicas: int = 1
    ef: int = 256
    m: int = 32
    in_8_bits: bool = False

    def __post_init__(self) -> None:
        """Check address and ranges."""
        if not re.fullmatch(r"https?://[^/\s?#@]+(:\d{1,5})?/?", self.address):
            raise ConfigError(f"store.address must be http(s)://HOST:PORT without a key in it, got '{self.address}'")
        if not TIMEOUTS_S[0] <= self.timeout_s <= TIMEOUTS_S[1]:
            raise ConfigError(f"store.timeout_s must be {TIMEOUTS_S[0]:g} to {TIMEOUTS_S[1]:g}, got {self.timeout_s:g}")
        for name, most in (("shards", 1000), ("replicas", 10), ("ef", 10_000), ("m", 512)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"store.{name} must be 1 to {most:,}, got {getattr(self, name)}")

    def patient(self, timeout_s: float) -> Store:
        """Return the same store, for requests that may take longer than a search."""
        return replace(self, timeout_s=max(self.timeout_s, timeout_s))

    def save(self, folder: Path) -> None:
        """Write ``store.json`` into a folder."""
        (folder / STORE_FILE).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Store | None:
        """Return where the products of a version folder are searched; None: in its own files.

        The variable ``TRIDENT_STORE`` names another address for an engine that has moved.

        Raises:
            GenerationError: If the file is damaged.
            ConfigError: If the variable is no address.
        """
        path = folder / STORE_FILE
        if not path.is_file():
            return None
        try:
            found = from_table(cls, json.loads(path.read_text(encoding="utf-8")), where=str(path))
        except (ValueError, ConfigError) as error:
            raise GenerationError(f"{path} is damaged: {error}; export again") from error
        moved = os.environ.get(ADDRESS)
        return replace(found, address=moved) if moved else found


def store_of(generation: Generation) -> Store | None:
    """Return where a generation's products are searched; None: in its own files.

    Raises:
        GenerationError: If what says so is damaged.
    """
    return Store.load(generation.version_folder("retriever"))


def collection_of(generation: str) -> str:
    """Return the collection of a generation's products."""
    return PREFIX + generation


def golden_of(generation: str) -> str:
    """Return the collection that answers a generation's golden queries, whatever was written since."""
    return PREFIX + generation + GOLDEN


def generation_of(collection: str) -> str | None:
    """Return the generation of a collection; None: it is none of ours."""
    found = re.fullmatch(rf"{PREFIX}([0-9a-f]{{16}})(?:{GOLDEN})?", collection)
    return None if found is None else found[1]
