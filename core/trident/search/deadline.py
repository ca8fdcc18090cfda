"""When a request's client stops waiting: a request that nobody waits for any more is not worked on.

The deadline is a request parameter and no tensor, since it changes no answer: the response cache does not see it. It is
a time of day, because a served model is not told when a request came in. The clocks of client and server must agree to
within what the client waits; a client that is refused before its own time is up knows that they do not, and sends no
deadline from then on (``trident_client``).
"""

from __future__ import annotations

import json
import time

from trident.errors import DataError, DeadlineError
from trident.retrieval.tensors import DEADLINE


def check_deadline(parameters: str, *, now_s: float | None = None) -> None:
    """Raise if nobody waits for a request any more.

    Args:
        parameters: Of the request, as Triton hands them over: a JSON object.
        now_s: Seconds since 1970; None: by the clock.

    Raises:
        DeadlineError: If its deadline has passed.
        DataError: If its deadline is no time.
    """
    if DEADLINE not in parameters:
        return
    deadline_ms = json.loads(parameters).get(DEADLINE, 0)
    if not isinstance(deadline_ms, int | float) or isinstance(deadline_ms, bool):
        raise DataError(f"{DEADLINE} must be milliseconds since 1970, got {deadline_ms!r}")
    late_s = (time.time() if now_s is None else now_s) - deadline_ms / 1000
    if deadline_ms and late_s >= 0:
        raise DeadlineError(
            f"DEADLINE_EXCEEDED: the request's {DEADLINE} had passed {late_s:.3f} s before it was taken, by the "
            "server's clock"
        )
