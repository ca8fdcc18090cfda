"""Does every process of a server with a live catalogue answer with what was written last?

Golden queries are asked of the generation alone; this is what stands beside them in ``/ready``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from trident.cluster.store import store_of
from trident.errors import ServerError
from trident.generation.generation import generation_by_id
from trident.generation.state import ServingFolder
from trident.journal.cursor import LogCursor
from trident.journal.folder import LiveFolder
from trident.journal.published import Published
from trident.journal.standing import Standing, standings
from trident.live.operations import Entry, Product, decode_record
from trident.probe.control import exchange, reason_in
from trident.probe.golden_check import port_of
from trident.retrieval.tensors import DETAILS, OPTIONS, QUERY, K

LAG_S = 10.0  # that a process may need to take in what was published
STALE_S = 10.0  # since a process last told where it stands: it does so ten times a second
POLL_S = 0.05
LOOKS = 40  # at processes that stand at different numbers, which writes go on changing
RECENT = 1000  # operations that are read back at first
TRIES = 3  # products that are asked for, where writes overtake the question


class TailCheck:
    """Looks at the processes of one server, and asks it for a product that was written lately.

    Args:
        generations: The folder of generations.
        url: ``host:port`` of the server's HTTP.
        lag_s: How long a process may take.
    """

    def __init__(self, generations: Path, url: str, *, lag_s: float = LAG_S) -> None:
        """Nothing is read yet."""
        self._generations, self._url, self._lag_s = generations, url, lag_s
        self._serving = ServingFolder.of(generations, port_of(url))
        self._live = LiveFolder.of(generations)
        self._cursor: LogCursor | None = None
        self._latest: dict[str, Entry] = {}  # of the products that were written lately, the last one behind

    def require(self) -> None:
        """Raise unless each process has what was published when this began, and a recent product is found.

        Raises:
            ServerError: Naming process and number, or product; or if the server does not answer.
            LiveError: If the log cannot be read.
            GenerationError: If the generation that serves is gone.
        """
        found, state = Published(self._live.published).read(), self._serving.state()
        if found is None or state is None:
            return
        generation = generation_by_id(self._generations, state.serving)
        if store_of(generation) is not None:  # which has what came since
            return
        number = found[0]
        self._require_reached(number, generation.serial)
        self._require_equal(generation.serial)
        if number > self._live.start_of(generation.holds, generation.id):
            self._require_found(number)

    def _standings(self, serial: int) -> list[Standing]:
        return [each for each in standings(self._serving.path) if each.serial == serial]

    def _require_reached(self, number: int, serial: int) -> None:
        deadline = time.monotonic() + self._lag_s
        while True:
            there = self._standings(serial)
            behind = [each for each in there if each.number < number or each.age_s > STALE_S]
            if there and not behind:
                return
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
        if not there:
            raise ServerError(f"no process of version {serial} says how far it follows the live catalogue")
        last = min(behind, key=lambda each: each.number)
        raise ServerError(
            f"process {last.pid} answers with number {last.number:,} of the live catalogue, which was at {number:,} "
            f"{self._lag_s:g} s ago; it said so {last.age_s:.1f} s ago"
        )

    def _require_equal(self, serial: int) -> None:
        for _ in range(LOOKS):
            there = self._standings(serial)
            if len({each.number for each in there}) <= 1:
                break
            time.sleep(POLL_S / 10)
        else:  # writes are so fast that they never stood together
            return
        if len({each.checksum for each in there}) > 1:
            told = ", ".join(f"{each.checksum:016x} by process {each.pid}" for each in there)
            raise ServerError(
                f"every process must have the same live catalogue at number {there[0].number:,}, got checksums {told}: "
                "restart the server"
            )

    def _require_found(self, number: int) -> None:
        """Raise unless the last product that was written, and is still there, is known to the server."""
        for _ in range(TRIES):
            product = self._newest()
            if product is None:
                return
            entry = self._latest[product]
            refusal = self._ask(product, number)
            if refusal is None:
                return
            self._newest()
            if self._latest.get(product) is entry:  # it was not overtaken
                raise ServerError(
                    f"product '{product}' was written as number {entry.number:,} and is not found: {refusal}"
                )

    def _newest(self) -> str | None:
        """Read on in the log, and return the product that was written last; None: only others were deleted."""
        found = Published(self._live.published).read()
        last = 0 if found is None else found[0]
        if self._cursor is None:
            self._cursor = LogCursor(self._live.log, max(last - RECENT, self._live.first() - 1))
        for number, record in self._cursor.advance(last):
            product, entry = decode_record(number, record)
            self._latest.pop(product, None)
            self._latest[product] = entry
        for product in list(self._latest)[:-RECENT]:
            del self._latest[product]
        return next((each for each in reversed(self._latest) if isinstance(self._latest[each], Product)), None)

    def _ask(self, product: str, number: int) -> str | None:
        """Return why a product is not known; None: it is."""
        options = {"like": product, "rules": False}
        inputs: list[dict[str, Any]] = [
            {"name": QUERY, "datatype": "BYTES", "shape": [1, 1], "data": [""]},
            {"name": K, "datatype": "INT64", "shape": [1, 1], "data": [1]},
            {"name": OPTIONS, "datatype": "BYTES", "shape": [1, 1], "data": [json.dumps(options)]},
        ]
        body = json.dumps({"inputs": inputs, "outputs": [{"name": DETAILS}]}).encode()
        status, content = exchange(self._url, "POST", "/v2/models/search/infer", {}, body=body)
        if status == 400:
            return reason_in(content)
        if status != 200:
            raise ServerError(f"tritonserver at {self._url} answered {status}: {reason_in(content)}")
        try:
            answered = int(json.loads(json.loads(content)["outputs"][0]["data"][0])["sequence"])
        except (ValueError, LookupError, TypeError) as error:
            raise ServerError(f"what answers at {self._url} is no live catalogue: {error!r}") from error
        return None if answered >= number else f"it answers with number {answered:,}, and was at {number:,} before"
