"""What is known of products beyond what a catalogue says: their last numbers and versions, and who was deleted.

A generation carries it, so that what comes late is stale, and what was touched after a dump is left alone, over
promotions and compactions too: else an upsert that is delivered late brings a deleted product back. It does so for a
while; what was touched longer ago is forgotten, and a number up to which something is forgotten stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from trident.errors import GenerationError, LogError
from trident.generation.generation import Generation, list_generations
from trident.generation.holds import Position
from trident.journal.cursor import LogCursor
from trident.journal.folder import LiveFolder
from trident.journal.retention import lease
from trident.live.operations import Product, decode_record

KNOWN_FILE = "known.jsonl"
KEPT_DAYS = 30.0
DAY_S = 86_400.0
CATALOGUE_MODEL = "retriever"  # whose version folder has the catalogue


@dataclass(frozen=True)
class Known:
    """What is known of a product: its last number, its version, and whether it is there."""

    number: int
    version: int | None
    is_there: bool
    at: int | None = None  # seconds since 1970 of its last operation; None: nobody said


@dataclass(frozen=True)
class Knowledge:
    """What is known of products by id, and the highest number of what was forgotten; 0: nothing was."""

    products: dict[str, Known] = field(default_factory=dict)
    forgotten: int = 0

    def kept(self, days: float) -> Knowledge:
        """Return what was touched within so many days before the last operation.

        By the log's own times, so that the same log gives the same bytes; what nobody said the time of counts as new.
        """
        newest = max((known.at for known in self.products.values() if known.at is not None), default=None)
        if newest is None:
            return self
        dated = {
            product: known if known.at is not None else replace(known, at=newest)
            for product, known in self.products.items()
        }
        kept = {product: known for product, known in dated.items() if (known.at or 0) >= newest - days * DAY_S}
        gone = [0, *(known.number for product, known in dated.items() if product not in kept)]
        return Knowledge(kept, max(self.forgotten, *gone))


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
    if lineage is not None and last == 0 and not holds:
        return lineage.position(0)
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


def known_at(generations: Path, position: Position, *, days: float = KEPT_DAYS) -> Knowledge:
    """Return what is known at a number: of the latest generation before it, and the log from there.

    Args:
        generations: The folder of generations.
        position: The number.
        days: How long what is known of a product outlives its last operation.

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
    known = load_known(before[after]) if after in before else Knowledge()
    for number, record in LogCursor(folder.log, after).advance(position.number):
        product, entry = decode_record(number, record)
        known.products[product] = Known(number, entry.version, isinstance(entry, Product), entry.at)
    return known.kept(days)


def save_known(known: Knowledge, path: Path) -> None:
    """Write what is known, one product a line, by id: equal knowledge gives equal bytes."""
    with path.open("w", encoding="utf-8") as file:
        if known.forgotten:
            file.write(json.dumps({"forgotten": known.forgotten}) + "\n")
        for product in sorted(known.products):
            row = {"id": product, **asdict(known.products[product])}
            if row["at"] is None:
                del row["at"]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def load_known(generation: Generation) -> Knowledge:
    """Return what a generation carries; nothing where it was exported without a log.

    Raises:
        GenerationError: If the file is damaged.
    """
    path = generation.version_folder(CATALOGUE_MODEL) / KNOWN_FILE
    if not path.is_file():
        return Knowledge()
    products, forgotten = {}, 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if "forgotten" in row:
                    forgotten = int(row["forgotten"])
                    continue
                products[row["id"]] = Known(row["number"], row["version"], row["is_there"], row.get("at"))
    except (ValueError, KeyError, TypeError) as error:
        raise GenerationError(f"{path} is damaged: {error}; export again") from error
    return Knowledge(products, forgotten)
