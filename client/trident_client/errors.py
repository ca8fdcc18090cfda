"""Every error that the client raises.

ClientError
|-- InvalidRequestError        the server or the client refuses what was asked: mend the request
|-- ServerUnavailableError     nobody answers at the address, or no generation is loaded: try again later
|-- RequestTimeoutError        no answer in time: try again, or raise timeout_s
|-- NotAllowedError            a gate before the server wants a token or a certificate, or another one: Behaviour, Tls
|-- WriteKeyError              writing to the catalogue needs its key: pass write_key
|-- CatalogueFullError         there is no room: nothing was written
|-- CatalogueStoppedError      nothing is written for now: nothing was
|-- CatalogueFollowsError      the server follows another one, which it names: write there; nothing was written
|-- UnknownOutcomeError        whether the operations were written is not known: look, or send them again
|-- ServerOverloadedError      the server's queue is full or the request waited too long in it: try again later
`-- UnexpectedAnswerError      the answer does not keep the contract: other versions of client and server?
"""

from __future__ import annotations

import re

from tritonclient.utils import InferenceServerException


class ClientError(Exception):
    """Base class of all errors of the client."""


class InvalidRequestError(ClientError):
    """The request breaks a rule."""


class ServerUnavailableError(ClientError):
    """Nobody answers at the address, or no generation is loaded."""


class RequestTimeoutError(ClientError):
    """No answer in time."""


class ServerGaveUpError(RequestTimeoutError):
    """The server says that the request's deadline has passed; the client itself turns to it."""


class NotAllowedError(ClientError):
    """Whoever guards the server does not let this client in."""


class ServerOverloadedError(ClientError):
    """The server rejected the request to protect itself."""


class WriteKeyError(ClientError):
    """Writing to the catalogue needs its key."""


class CatalogueFullError(ClientError):
    """There is no room; nothing was written, or what the message says."""


class CatalogueStoppedError(ClientError):
    """Nothing is written for now; nothing was, or what the message says."""


class CatalogueFollowsError(ClientError):
    """The server follows another one, which the message names; nothing was written."""


class UnknownOutcomeError(ClientError):
    """Whether the operations were written is not known; after a restart they are there, all of them or none."""


class UnexpectedAnswerError(ClientError):
    """The answer does not keep the contract."""


# A kind of error has one gRPC status and one HTTP status for several causes; the message tells them apart.
# Source: measured on tritonserver 2.51.
EXPIRED = "DEADLINE_EXCEEDED: "
OVERLOADED = ("the server is overloaded", "Exceeds maximum queue size", "Request timeout expired")
NOT_LOADED = ("is not ready", "is not found", "has no available versions")
NOT_TRUSTED = ("certificate verify failed", "CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
NOT_LET_IN = re.compile("failed to connect to all addresses.*Socket closed")  # by a port of TLS, before any request
OTHER_CONTRACT = ("unexpected inference", "unexpected shape for input", "data-type is", "batch-size must be <=")
CATALOGUE: dict[str, type[ClientError]] = {
    "PERMISSION_DENIED: ": WriteKeyError,
    "RESOURCE_EXHAUSTED: ": CatalogueFullError,
    "UNAVAILABLE: ": CatalogueStoppedError,
    "UNKNOWN_OUTCOME: ": UnknownOutcomeError,
    "FOLLOWS: ": CatalogueFollowsError,
}
PREFIX = re.compile(r"^(?:in ensemble '\w+', |\[request id: [^\]]*\] )+")
# What each status means where its text says nothing more: gRPC's names, HTTP's numbers (499 is Triton's "cancelled").
STATUSES: dict[str, type[ClientError]] = {
    "INVALID_ARGUMENT": InvalidRequestError,
    "400": InvalidRequestError,
    "413": InvalidRequestError,
    "UNAUTHENTICATED": NotAllowedError,
    "PERMISSION_DENIED": NotAllowedError,
    "401": NotAllowedError,
    "403": NotAllowedError,
    "407": NotAllowedError,
    "NOT_FOUND": ServerUnavailableError,
    "UNAVAILABLE": ServerUnavailableError,
    "CANCELLED": ServerUnavailableError,
    "404": ServerUnavailableError,
    "499": ServerUnavailableError,
    "502": ServerUnavailableError,
    "503": ServerUnavailableError,
    "DEADLINE_EXCEEDED": RequestTimeoutError,
    "408": RequestTimeoutError,
    "504": RequestTimeoutError,
    "RESOURCE_EXHAUSTED": ServerOverloadedError,
    "429": ServerOverloadedError,
    "UNKNOWN": UnexpectedAnswerError,
    "INTERNAL": UnexpectedAnswerError,
    "UNIMPLEMENTED": UnexpectedAnswerError,
    "ALREADY_EXISTS": UnexpectedAnswerError,
    "FAILED_PRECONDITION": UnexpectedAnswerError,
    "ABORTED": UnexpectedAnswerError,
    "OUT_OF_RANGE": UnexpectedAnswerError,
    "DATA_LOSS": UnexpectedAnswerError,
    "409": UnexpectedAnswerError,
    "415": UnexpectedAnswerError,
    "500": UnexpectedAnswerError,
    "501": UnexpectedAnswerError,
}
LACKS = {  # of models that not every server has
    "'suggest'": "answers with a generation that has none",
    "'catalogue'": "has no live catalogue: start it with trident serve --live",
}
TOO_LARGE = "message larger than max"  # gRPC's own limit, which more patience does not move


def translate(error: InferenceServerException, url: str, timeout_s: float | None) -> ClientError:
    """Return the client's error for one of tritonclient.

    Args:
        error: What tritonclient raised.
        url: The server's address, for the message.
        timeout_s: The limit of the request, for the message; None: none.
    """
    status = str(error.status() or "").removeprefix("StatusCode.")
    return translate_status(status, str(error.message() or ""), url, timeout_s)


def translate_status(status: str, said: str, url: str, timeout_s: float | None) -> ClientError:
    """Return the client's error for a status of gRPC or HTTP other than success, and what was said with it."""
    line = _first_line(said)
    text = PREFIX.sub("", line)
    for mark, kind in CATALOGUE.items():
        if text.startswith(mark):
            return kind(text.removeprefix(mark))
    if any(mark in text for mark in OVERLOADED):
        reason = text.removeprefix("the server is overloaded: ")
        return ServerOverloadedError(f"the server at {url} is overloaded: {reason}; try again later")
    if EXPIRED in text:
        return ServerGaveUpError(str(timed_out(url, timeout_s)))
    if any(mark in text for mark in OTHER_CONTRACT):
        return UnexpectedAnswerError(f"the server at {url} serves another contract than this client's: {text}")
    is_of_server = text != line or any(mark in text for mark in NOT_LOADED)  # gRPC itself knows no ensembles
    if status == "UNAVAILABLE" and not is_of_server:
        return _unreachable_by_grpc(url, text)
    kind = STATUSES.get(status, UnexpectedAnswerError)
    if any(mark in text for mark in NOT_LOADED):
        kind = ServerUnavailableError
    if kind is ServerOverloadedError and TOO_LARGE in text:
        kind = InvalidRequestError
    if kind is RequestTimeoutError:
        return timed_out(url, timeout_s)
    if kind is InvalidRequestError:
        return InvalidRequestError(text)
    failed = f"failed: {status or 'no status'}, {text}"
    lacks = next((said for model, said in LACKS.items() if model in text), "is not ready to search")
    shown = {
        ServerUnavailableError: f"{lacks}: {text}",
        NotAllowedError: f"does not let this client in: {status}, {text}; pass Behaviour(token=...), or Tls(...)",
        ServerOverloadedError: f"is overloaded: {text}; try again later",
    }
    return kind(f"the server at {url} {shown.get(kind, failed)}")


def timed_out(url: str, timeout_s: float | None) -> RequestTimeoutError:
    """Return the error of an answer that did not come in time."""
    limit = "in time" if timeout_s is None else f"within {timeout_s:g} s"
    return RequestTimeoutError(f"no answer from {url} {limit}: try again, or raise timeout_s")


def unreachable(url: str, reason: str) -> ServerUnavailableError:
    """Return the error of an address where nobody answers."""
    return ServerUnavailableError(f"no server answers at {url}: start one with trident serve ({reason})")


def untrusted(url: str, reason: str) -> ServerUnavailableError:
    """Return the error of a server whose certificate is not trusted."""
    return ServerUnavailableError(
        f"the certificate of the server at {url} must be signed by a trusted authority and name that host: pass "
        f"the authority's as Tls(ca=...), and the name in the certificate as host ({reason})"
    )


def _unreachable_by_grpc(url: str, text: str) -> ServerUnavailableError:
    if any(mark in text for mark in NOT_TRUSTED):
        return untrusted(url, text)
    if NOT_LET_IN.search(text):
        return ServerUnavailableError(
            f"the server at {url} closed the connection at once: if its gRPC speaks TLS pass tls=Tls(ca=...), with "
            f"certificate and key where it lets in known clients only; else try again later ({text})"
        )
    return unreachable(url, text)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no message"
