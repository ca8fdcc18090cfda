"""What callers are told when something is wrong: one sentence, in the form that the openai SDK reads."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse

from trident_client import (
    CatalogueFollowsError,
    CatalogueFullError,
    CatalogueStoppedError,
    ClientError,
    InvalidRequestError,
    RequestTimeoutError,
    ServerOverloadedError,
    ServerUnavailableError,
    UnknownOutcomeError,
    WriteKeyError,
)

RETRY_AFTER = {"Retry-After": "1"}  # seconds; the openai SDK ignores 0 and waits out large ones
# Status, kind and headers by the client's error; whatever is not here is the server's own fault.
MEANINGS: dict[type[ClientError], tuple[int, str, Mapping[str, str]]] = {
    InvalidRequestError: (400, "invalid_request_error", {}),
    ServerOverloadedError: (429, "overloaded_error", RETRY_AFTER),
    ServerUnavailableError: (503, "unavailable_error", RETRY_AFTER),
    RequestTimeoutError: (504, "timeout_error", {}),
    WriteKeyError: (403, "permission_error", {}),
    CatalogueFullError: (507, "full_error", {}),
    CatalogueStoppedError: (503, "unavailable_error", RETRY_AFTER),
    CatalogueFollowsError: (409, "follows_error", {}),
    UnknownOutcomeError: (502, "unknown_outcome_error", {}),
}


def refusal(
    status: int, message: str, kind: str = "invalid_request_error", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a reply that says what is wrong."""
    text = message.encode("utf-8", "backslashreplace").decode()  # half characters come back from who sent them
    body = {"error": {"message": text, "type": kind, "code": status, "param": None}}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))


def of_client(error: ClientError) -> JSONResponse:
    """Return the reply for an error of the client inside."""
    known = (MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS)
    status, kind, headers = next(known, (502, "server_error", {}))
    return refusal(status, str(error), kind, headers)
