"""What the adapters of the served models share: reading Triton's requests, timing them, refusing one in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trident.errors import DataError, DeadlineError, ModelError, OverloadError, StoreAwayError, StoreError, TridentError
from trident.retrieval.requests import KnobTensors, SearchKnobs
from trident.retrieval.tensors import COUNT, DETAILS, EF, MIN_SCORE, OPTIONS, PRODUCT_ID, SCORE, TITLE, K
from trident.search.timing import is_timed, timed
from trident.stage_times import measured

if TYPE_CHECKING:  # tokenizer and encoder have no use for an index
    from trident.retrieval.retriever import Hits, Retriever

FOUND = frozenset({PRODUCT_ID, SCORE, TITLE, COUNT, DETAILS})  # outputs for which products are searched
INVALID, OVERLOADED, EXPIRED, INTERNAL, AWAY = "invalid", "overloaded", "expired", "internal", "away"
REASONS = (INVALID, OVERLOADED, EXPIRED, INTERNAL, AWAY)
STATUSES = {  # Triton's
    INVALID: "INVALID_ARG",
    OVERLOADED: "UNAVAILABLE",
    EXPIRED: "CANCELLED",
    INTERNAL: "INTERNAL",
    AWAY: "UNAVAILABLE",
}


def tensor(request: Any, backend: Any, name: str) -> NDArray[Any] | None:
    """Return an input of one of Triton's requests; None where it was not sent.

    Args:
        request: Triton's.
        backend: Its module ``triton_python_backend_utils``.
        name: Of the input.
    """
    found = backend.get_input_tensor_by_name(request, name)
    return None if found is None else found.as_numpy()


def id_of(request: Any) -> str:
    """Return the id of one of Triton's requests.

    Raises:
        DataError: If it is no text: Triton takes any bytes over HTTP, and an error of Python's would end the batch.
    """
    try:
        return str(request.request_id())
    except UnicodeDecodeError as error:
        raise DataError(f"the id of a request must be text in UTF-8, got other bytes ({error.reason})") from error


def parameters_of(request: Any) -> str:
    """Return the parameters of one of Triton's requests, a JSON object, with the headers that it was told to forward.

    Raises:
        DataError: If something in them is no text, as ``id_of``.
    """
    try:
        return str(request.parameters())
    except UnicodeDecodeError as error:
        raise DataError(f"parameters and headers must be text in UTF-8, got other bytes ({error.reason})") from error


def knob_tensors(request: Any, backend: Any) -> KnobTensors:
    """Return the optional tensors of a request; as ``tensor`` and ``id_of``."""
    k, ef, min_score, options = (tensor(request, backend, name) for name in (K, EF, MIN_SCORE, OPTIONS))
    return KnobTensors(k, ef, min_score, options, id_of(request))


def retrieve_timed(
    retriever: Retriever,
    embeddings: NDArray[np.float32],
    knobs: Sequence[SearchKnobs],
    *,
    threads: int = 1,
    of_base: Sequence[bool] | None = None,
) -> Hits:
    """Return what ``retriever.retrieve`` returns, with the times of its own stages where they are asked for."""
    with measured(is_asked=is_timed(knobs)) as times:
        return timed(retriever.retrieve(embeddings, knobs, threads=threads, of_base=of_base), knobs, times)


def reason_of(error: TridentError) -> str:
    """Return the cause of a failed request, one of ``REASONS``: it is the label that it is counted by."""
    match error:
        case OverloadError():
            return OVERLOADED
        case DeadlineError():
            return EXPIRED
        case StoreAwayError():
            return AWAY
        case ModelError() | StoreError():
            return INTERNAL
        case _:
            return INVALID


def refusal(error: TridentError, backend: Any) -> Any:
    """Return Triton's response to one request that cannot be answered; others of its batch are unharmed."""
    status = getattr(backend.TritonError, STATUSES[reason_of(error)])
    return backend.InferenceResponse(error=backend.TritonError(str(error), status))
