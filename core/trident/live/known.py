"""What is known of products beyond what a catalogue says: their last numbers and versions, and who was deleted.

A generation carries it, so that what comes late is stale, and what was touched after a dump is left alone, over
promotions and compactions too: else an upsert that is delivered late brings a deleted product back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from trident.errors import GenerationError, LogError
from trident.generation.generation import Generation, list_generations
from trident.generation.holds import Position
from trident.journal.cursor import LogCursor
from trident.journal.folder import LiveFolder
from trident.journal.retention import lease
from trident.live.operations import Product, decode_record

KNOWN_FILE = "known.jsonl"
CATALOGUE_MODEL = "retriever"  # whose version folder has the catalogue


@dataclass(frozen=True)
class Known:
    """What is known of a product: its last number, its version, and whether it is there."""

    number: int
    version: int | None
    is_there: bool


def position_of(generations: Path, holds: int | None) -> Position | None:
    """Return how far an export goes whose dump was made at a number; None where there is no log.

    Args:
        generations: The folder that it goes to.
        holds: The number; None: nobody said.

    Raises:
        LogError: If there is a log and no number, or the log does not reach the number.
    """
    folder = LiveFolder.of(generations)
    lineage, last = folder.lineage(), folder.last()
    if lineage is None or last == 0:
        if holds:
            raise LogError(f"--holds must be left out where there is no log, got {holds:,}: {folder.log} has none")
        return None
    if holds is None:
        raise LogError(
            f"{folder.log} goes to number {last:,}: say with --holds N at which number the catalogue's file was made, "
            "or what came since would be lost; trident catalogue stats says the number, before the file is made"
        )
    first = folder.first()
    if not first - 1 <= holds <= last:
        raise LogError(f"--holds must be {first - 1:,} to {last:,}, what {folder.log} reaches, got {holds:,}")
    return lineage.position(holds)


@contextmanager
def held_log(generations: Path, holds: int | None) -> Iterator[Position | None]:
    """Yield what ``position_of`` returns; the log behind that stays while the block runs.

    Raises:
        LogError: As ``position_of``.
    """
    with ExitStack() as leased:
        if holds is not None and position_of(generations, holds) is not None:
            leased.enter_context(lease(LiveFolder.of(generations), holds))
        yield position_of(generations, holds)  # asked again: it may have been cut in between


def known_at(generations: Path, position: Position) -> dict[str, Known]:
    """Return what is known at a number: of the latest generation before it, and the log from there.

    Raises:
        LogError: If the log does not reach back to a generation.
        GenerationError: If a generation is damaged.
    """
    folder = LiveFolder.of(generations)
    lineage = folder.lineage()
    before: dict[int, Generation] = {}
    for generation in list_generations(generations):
        holds = generation.holds
        if holds is not None and lineage is not None and lineage.fault(holds) is None:
            before[holds.number] = generation
    after = max((number for number in before if number <= position.number), default=0)
    known = load_known(before[after]) if after in before else {}
    for number, record in LogCursor(folder.log, after).advance(position.number):
        product, entry = decode_record(number, record)
        known[product] = Known(number, entry.version, isinstance(entry, Product))
    return known


def save_known(known: dict[str, Known], path: Path) -> None:
    """Write what is known, one product a line, by id: equal knowledge gives equal bytes."""
    with path.open("w", encoding="utf-8") as file:
        for product in sorted(known):
            file.write(json.dumps({"id": product, **asdict(known[product])}, ensure_ascii=False) + "\n")


def load_known(generation: Generation) -> dict[str, Known]:
    """Return what a generation carries; nothing where it was exported without a log.

    Raises:
        GenerationError: If the file is damaged.
    """
    path = generation.version_folder(CATALOGUE_MODEL) / KNOWN_FILE
    if not path.is_file():
        return {}
    known = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                known[row["id"]] = Known(row["number"], row["version"], row["is_there"])
    except (ValueError, KeyError, TypeError) as error:
        raise GenerationError(f"{path} is damaged: {error}; export again") from error
    return known
