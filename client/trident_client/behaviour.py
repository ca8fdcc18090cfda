"""How a client behaves on the way: repeats, a second request beside a slow one, headers, spans."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trident_client.errors import ClientError, InvalidRequestError, ServerOverloadedError, ServerUnavailableError

PAUSES_S = (0.05, 1.0)  # before the first repeat, and at most
PASSING = (ServerUnavailableError, ServerOverloadedError)
HEADER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a client does beside asking once.

    All requests of the client are questions, so asking twice changes nothing; whatever is repeated stays within
    ``timeout_s`` of the first.

    Attributes:
        retries: Repeats after the server was not there or overloaded, each after a random pause that grows from 0.05 s
            to 1 s. An answer that does not come in time is not asked for again, nor is what was refused.
        hedge_after_s: Seconds without an answer after which the same is asked a second time beside it, and the first
            answer taken; None: never. It doubles the load of whatever is slow: take the time that 95 of 100 keep.
        headers: Sent with each request, as HTTP's headers or gRPC's metadata.
        token: Sent as ``authorization: Bearer ...``; pass it through TLS only.
        spans: Whether each request is a span of OpenTelemetry (extra ``otel``) and its context is sent along.

    Raises:
        InvalidRequestError: If a value breaks a rule.
    """

    retries: int = 0
    hedge_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    token: str | None = field(default=None, repr=False)
    spans: bool = False

    def __post_init__(self) -> None:
        """Check the rules."""
        retries: Any = self.retries
        if not isinstance(retries, int) or isinstance(retries, bool) or not 0 <= retries <= 10:
            raise InvalidRequestError(f"retries must be 0 to 10, got {self.retries!r}")
        if self.hedge_after_s is not None and not self.hedge_after_s > 0:
            raise InvalidRequestError(f"hedge_after_s must be > 0, got {self.hedge_after_s}")
        given: Mapping[Any, Any] = self.headers
        for name, value in given.items():
            if not isinstance(name, str) or not HEADER_NAME.fullmatch(name):
                raise InvalidRequestError(f"a header's name must be letters, digits and hyphens, got {name!r}")
            if not isinstance(value, str) or not _is_header_text(value):
                raise InvalidRequestError(f"the header {name} must be a line of ASCII, got {type(value).__name__}")
        if self.token is not None and (not self.token or not _is_header_text(self.token) or " " in self.token):
            raise InvalidRequestError("token must be ASCII without blanks, got something else (not shown here)")

    def sent_headers(self) -> dict[str, str]:
        """Return the headers of a request, names in lower case as gRPC wants them."""
        sent = {name.lower(): value for name, value in self.headers.items()}
        return sent if self.token is None else {**sent, "authorization": f"Bearer {self.token}"}

    def pause_s(self, error: ClientError, repeats: int, left_s: float | None) -> float | None:
        """Return how long to wait before asking again, None where that is no use.

        Args:
            error: What came of the last try.
            repeats: How often it was repeated already.
            left_s: Seconds until the deadline; None: it has none.
        """
        if repeats >= self.retries or not isinstance(error, PASSING):
            return None
        first, most = PAUSES_S
        pause = random.uniform(0.5, 1.0) * min(first * 2**repeats, most)  # noqa: S311 - spreads load, hides nothing
        return pause if left_s is None or pause < left_s else None


def _is_header_text(value: str) -> bool:
    return value.isascii() and value.isprintable()
