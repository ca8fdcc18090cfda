"""What is done before something serves a generation with a live catalogue: recovery, and the vectors that it lacks.

Both can take minutes, so both happen in the process of the command, which says how far it is, and not in the server,
whose waiting time would run out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from trident.attributes.schema import Schema
from trident.cluster.store import store_of
from trident.errors import DataError, LogError
from trident.generation.generation import MANIFEST_FILE, Generation, generation_by_id
from trident.journal.cursor import LogCursor
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.live.base import CatalogueBase, embedder
from trident.live.follower import Follower
from trident.live.operations import Entry, Product, decode_record
from trident.live.snapshot import Snapshot, needs_vector
from trident.live.state import State
from trident.live.vectors import CAPACITY, Embed, VectorFile
from trident.progress import time_text

STORED_CAPACITY = 1_000_000  # vectors beside a generation in a store, which searches them: no tail is compared
EMBEDDED = 64  # titles at once
SAID_EVERY_S = 30.0
LOCK_WAIT_S = 10.0  # for a writer that is just ending


def recover(folder: LiveFolder) -> int:
    """Recover the log, made where there is none, and publish and return its last number.

    Raises:
        LogError: If it is damaged, or another process writes to it.
        OSError: If it cannot be read or written.
    """
    folder.make()
    folder.make_key()
    with folder.writing(wait_s=LOCK_WAIT_S):
        published = Published(folder.published)
        log = Log.open(folder.log, promised=published.promised())
        published.write(log.last, log.lineage)
        log.close()
        folder.begin(path.parent.name for path in folder.path.parent.glob(f"*/{MANIFEST_FILE}"))
        return log.last


def vector_file(folder: LiveFolder, generation: Generation) -> VectorFile:
    """Return the vectors beside a generation's index.

    Raises:
        FullError: If the disk has no room for an empty one.
    """
    fingerprint, dimension = generation.manifest.encoder_fingerprint, int(generation.manifest.index["dimension"])
    capacity = CAPACITY if store_of(generation) is None else STORED_CAPACITY
    return VectorFile(
        folder.vectors(fingerprint, generation.id), fingerprint=fingerprint, dimension=dimension, capacity=capacity
    )


def replay(folder: LiveFolder, generation: Generation, *, report: Callable[[str], None]) -> Snapshot:
    """Return the snapshot of the published number over a generation; the vectors that it needs are there afterwards.

    Args:
        folder: Of the live catalogue, recovered.
        generation: To be served.
        report: Called with a line where there is something to replay, and while vectors are made.

    Raises:
        LiveError: If the log does not fit the generation or its attributes, or a vector cannot be kept.
        TridentError: If a part of the generation is missing or damaged.
    """
    after = folder.start_of(generation.holds, generation.id)
    last = folder.last()
    base = CatalogueBase.of(generation)
    require_fitting(folder, base.schema, generation.id, after, last)
    embed = embedder(generation)
    follower = Follower(folder, base, after, vector_file(folder, generation), embed)
    if last > after:
        report(f"replaying {last - after:,} operations over generation {generation.id} ({after + 1:,} to {last:,})")
        _embed(_titles(folder, base, after, last), follower.vectors, embed, after + 1, report=report)
    done = 0

    def progress(taken: int) -> None:
        nonlocal done
        if done // 5000 != (done + taken) // 5000:
            report(f"replayed {done + taken:,} of {last - after:,} operations")
        done += taken

    try:
        snapshot = follower.catch_up(progress)
        used, limit = follower.vectors.used, follower.vectors.capacity
        if used > limit:
            report(
                f"the tail has {used:,} vectors and its limit is {limit:,}: new titles are refused until trident "
                "catalogue compact --promote"
            )
        return snapshot
    finally:
        follower.close()


def _titles(folder: LiveFolder, base: CatalogueBase, after: int, last: int) -> list[str]:
    """Return the different titles of a catalogue at a number that the generation does not have."""
    latest: dict[str, Entry] = {}
    for number, record in LogCursor(folder.log, after).advance(last):
        product, entry = decode_record(number, record)
        latest[product] = entry
    needing = {product: entry for product, entry in latest.items() if needs_vector(base, product, entry)}
    return list(dict.fromkeys(entry.title for entry in needing.values() if isinstance(entry, Product)))


def _embed(titles: list[str], vectors: VectorFile, embed: Embed, number: int, *, report: Callable[[str], None]) -> None:
    """Make the vectors of titles for an operation; say how many, and how long that takes."""
    missing = [title for title in titles if vectors.missing([title])]
    if missing:
        report(f"{len(missing):,} titles to embed")
    began = said = time.monotonic()
    for start in range(0, len(missing), EMBEDDED):
        vectors.rows(missing[start : start + EMBEDDED], embed, number)
        now, done = time.monotonic(), min(start + EMBEDDED, len(missing))
        if (start == 0 or now - said > SAID_EVERY_S) and done < len(missing):
            said, left_s = now, (len(missing) - done) * (now - began) / done
            report(f"embedded {done:,} of {len(missing):,} titles, about {time_text(left_s)} left")


def require_fitting(folder: LiveFolder, schema: Schema, generation: str, after: int, last: int) -> None:
    """Raise for the first record whose attributes a generation does not have, or has of another type.

    Args:
        folder: Of the live catalogue.
        schema: Of the generation.
        generation: Its id.
        after: The number behind which records are looked at.
        last: The last one that is.

    Raises:
        LogError: Naming the record.
    """
    for number, record in LogCursor(folder.log, after).advance(last):
        product, entry = decode_record(number, record)
        if isinstance(entry, Product):
            try:
                schema.check(entry.attributes, f"operation {number:,} on '{product}'")
            except DataError as error:
                raise LogError(
                    f"the log does not fit the attributes of generation {generation}: {error}; export with them, or "
                    "with --attribute NAME=TYPE"
                ) from error


def read_state(generations: Path, generation: str) -> tuple[State, list[str]]:
    """Return the catalogue at the published number, over a generation, and the ids of all that may be in it.

    Raises:
        LiveError: If the log does not fit the generation.
        GenerationError: If that is missing or damaged.
    """
    found, folder = generation_by_id(generations, generation), LiveFolder.of(generations)
    after = folder.start_of(found.holds, found.id)
    base = CatalogueBase.of(found)
    state = State(base, after)
    published = Published(folder.published).read()
    for number, record in LogCursor(folder.log, after).advance(after if published is None else published[0]):
        state.apply(number, *decode_record(number, record))
    return state, list(dict.fromkeys([*base.ids, *state.changes]))
