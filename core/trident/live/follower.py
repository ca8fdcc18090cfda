"""Keeps a snapshot at the published number: what each process that searches has of the live catalogue.

A thread brings it up a few times a second, so that an instance that nobody asks does not fall behind; whoever answers
brings it up before that, so that a search that is sent after an operation was answered sees it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from trident.journal.cursor import LogCursor
from trident.journal.folder import LiveFolder
from trident.journal.published import Published
from trident.journal.standing import OwnStanding
from trident.live.operations import Entry, Tombstone, decode_record
from trident.live.snapshot import BaseRows, Change, Growth, Snapshot, needs_vector
from trident.live.vectors import Embed, VectorFile

PERIOD_S = 0.1
STEP = 256  # vectors that are made between two looks at progress

logger = logging.getLogger(__name__)


class Follower:
    """Follows a log over one base.

    Args:
        folder: Of the live catalogue.
        base: The generation's rows.
        after: The number that the generation goes to.
        vectors: Of the generation's encoder.
        embed: The generation's encoder, for what nobody has embedded with it yet.
        standing: Where it tells how far it is; None: nobody looks.
    """

    def __init__(
        self,
        folder: LiveFolder,
        base: BaseRows,
        after: int,
        vectors: VectorFile,
        embed: Embed,
        *,
        standing: OwnStanding | None = None,
    ) -> None:
        """Stand at the base; nothing is read yet."""
        self.vectors, self._standing = vectors, standing
        self._published = Published(folder.published)
        self._cursor = LogCursor(folder.log, after)
        self._growth = Growth(base, after)
        self._embed = embed
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The latest, wherever it is."""
        return self._growth.snapshot

    def catch_up(self, progress: Callable[[int], None] | None = None) -> Snapshot:
        """Return the snapshot of the published number.

        Args:
            progress: Called with numbers taken in since the last call.

        Raises:
            LiveError: If the log cannot be read, or a vector cannot be kept.
        """
        found = self._published.read()
        if found is None or found[0] <= self.snapshot.number:
            return self.snapshot
        with self._lock:
            upto = found[0]
            while self.snapshot.number < upto:
                before = self.snapshot.number
                self._take_in(min(upto, before + STEP))
                self._tell()
                if progress is not None:
                    progress(self.snapshot.number - before)
            return self.snapshot

    def start(self) -> None:
        """Follow in a thread."""
        self.vectors.prepare()
        self._thread = threading.Thread(target=self._follow, name="live catalogue", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._standing is not None:
            self._standing.close()
        self.vectors.close()

    def _take_in(self, upto: int) -> None:
        after = self.snapshot.number
        cursor = self._cursor
        latest: dict[str, Entry] = {}
        try:
            for number, record in cursor.advance(upto):
                product, entry = decode_record(number, record)
                latest.pop(product, None)  # it comes at the place of its last change
                latest[product] = entry
            needing = [product for product, entry in latest.items() if needs_vector(self._growth.base, product, entry)]
            titles = [entry.title for entry in map(latest.__getitem__, needing) if not isinstance(entry, Tombstone)]
            rows = self.vectors.rows(titles, self._embed, after + 1)
        except BaseException:
            self._cursor = LogCursor(cursor.folder, after)  # it is read again
            raise
        row_of = dict(zip(needing, rows.tolist(), strict=True))
        changes = [Change(product, entry, row_of.get(product, -1)) for product, entry in latest.items()]
        self._growth.advance(changes, upto)

    def _tell(self) -> None:
        """Tell how far it is; the caller has the lock."""
        if self._standing is not None:
            self._standing.tell(self.snapshot.number, self.snapshot.checksum)

    def _follow(self) -> None:
        said = ""
        while not self._stopping.wait(PERIOD_S):
            try:
                self.catch_up()
                self.vectors.prepare()
                with self._lock:
                    self._tell()
            except Exception as error:  # whatever it is: it is tried again, and ``/ready`` tells
                if str(error) != said:
                    said = str(error)
                    logger.exception("the live catalogue cannot be followed")
