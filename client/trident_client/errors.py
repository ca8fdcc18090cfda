"""Every error that the client raises.

ClientError
|-- InvalidRequestError        the server or the client refuses what was asked: mend the request
|-- ServerUnavailableError     nobody answers at the address, or the model is not loaded: try again later
|-- RequestTimeoutError        no answer in time: try again, or raise timeout_s
|-- ServerOverloadedError      the server's queue is full or the request waited too long in it: try again later
`-- UnexpectedAnswerError      the answer does not keep the contract: other versions of client and server?
"""

from __future__ import annotations

from tritonclient.utils import InferenceServerException


class ClientError(Exception):
    """Base class of all errors of the client."""


class InvalidRequestError(ClientError):
    """The request breaks a rule."""


class ServerUnavailableError(ClientError):
    """Nobody answers at the address, or the model is not loaded."""


class RequestTimeoutError(ClientError):
    """No answer in time."""


class ServerOverloadedError(ClientError):
    """The server rejected the request to protect itself."""


class UnexpectedAnswerError(ClientError):
    """The answer does not keep the contract."""


# What gRPC calls a status, HTTP answers with a number; the message tells the rest apart.
_OVERLOADED = ("Exceeds maximum queue size", "Request timeout expired", "max_queue_size")
_NOT_LOADED = ("is not ready", "is not found", "unknown model", "not available", "has no available versions")


def translate(error: InferenceServerException, url: str, timeout_s: float) -> ClientError:
    """Return the client's error for one of tritonclient.

    Args:
        error: What tritonclient raised.
        url: The server's address, for the message.
        timeout_s: The limit of the request, for the message.
    """
    status, message = str(error.status() or ""), str(error.message() or error)
    text = message.removeprefix("in ensemble 'search', ").removeprefix("in ensemble 'embed', ")
    if any(mark in message for mark in _OVERLOADED):
        return ServerOverloadedError(f"the server at {url} is overloaded: {text}; try again later")
    if "DEADLINE_EXCEEDED" in status or "Deadline Exceeded" in message or status == "499":
        return RequestTimeoutError(f"no answer from {url} within {timeout_s:g} s: try again, or raise timeout_s")
    if any(mark in message for mark in _NOT_LOADED):
        return ServerUnavailableError(f"the server at {url} is not ready to search: {text}")
    if "UNAVAILABLE" in status:
        return ServerUnavailableError(f"no server answers at {url}: start one with trident serve ({_first_line(text)})")
    if "INVALID_ARGUMENT" in status or status == "400":
        return InvalidRequestError(_first_line(text))
    return UnexpectedAnswerError(f"the server at {url} failed: {status} {_first_line(text)}".replace("  ", " "))


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no message"
