"""What the encoder's model in a server does with a batch of requests, whatever runs the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trident.encoder.tokenization import unpadded
from trident.errors import ModelError, OverloadError, TridentError
from trident.generation.golden import GOLDEN_REQUEST
from trident.retrieval.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from trident.search.adapters import id_of, parameters_of
from trident.search.admission import Admission
from trident.search.deadline import check_deadline

PAD_ID = 0  # any would do: the mask hides what pads

Request = tuple[NDArray[np.int64], NDArray[np.int64], bool]  # ids and mask, (B, L); whether a user waits for it
# Makes Triton's response to a request that is not answered.
Refuse = Callable[[TridentError], Any]


class IdsEncoder(Protocol):
    """What embeds token ids."""

    def embed_ids(self, rows: Sequence[Sequence[int]], *, pad_id: int) -> NDArray[np.float32]:
        """Return the embeddings (N, D) of N rows; ``ModelError`` for rows that it cannot embed."""


class RequestEncoder:
    """Embeds the requests of a batch together; those that would wait too long are rejected.

    Args:
        encoder: Embeds the rows of all requests.
        admission: Of this model's queue.
    """

    def __init__(self, encoder: IdsEncoder, admission: Admission) -> None:
        """Keep both."""
        self._encoder = encoder
        self._admission = admission

    def execute(self, requests: Sequence[Any], backend: Any, refuse: Refuse) -> list[Any]:
        """Return Triton's responses to Triton's requests.

        Args:
            requests: Of a batch.
            backend: Triton's module ``triton_python_backend_utils``.
            refuse: Makes the response to a request that is not embedded.
        """
        asked = [_read(request, backend) for request in requests]  # or why nobody waits for it any more
        answers = iter(self.answers([each for each in asked if not isinstance(each, TridentError)]))
        outcomes = [each if isinstance(each, TridentError) else next(answers) for each in asked]
        return [
            refuse(outcome)
            if isinstance(outcome, TridentError)
            else backend.InferenceResponse([backend.Tensor(EMBEDDING, outcome)])
            for outcome in outcomes
        ]

    def answers(self, requests: Sequence[Request]) -> list[NDArray[np.float32] | ModelError | OverloadError]:
        """Return for each request its embeddings, (B, D), or why it has none; a bad request fails no other."""
        live = [number for number, (_, _, is_live) in enumerate(requests) if is_live]
        admitted = self._admission.admits([len(requests[number][0]) for number in live])
        rejected = set(live[admitted:])
        try:
            embeddings = iter(self._together([each for number, each in enumerate(requests) if number not in rejected]))
            return [
                OverloadError(self._admission.reason) if number in rejected else next(embeddings)
                for number in range(len(requests))
            ]
        finally:
            self._admission.ended()

    def _together(self, requests: Sequence[Request]) -> list[NDArray[np.float32] | ModelError]:
        rows = [unpadded(ids, mask) for ids, mask, _ in requests]
        try:
            embeddings = self._encoder.embed_ids([row for each in rows for row in each], pad_id=PAD_ID)
        except ModelError as error:
            if len(requests) > 1:
                return [answer for request in requests for answer in self._together([request])]
            return [error]
        return [*np.split(embeddings, np.cumsum([len(each) for each in rows])[:-1])]


def _read(request: Any, backend: Any) -> Request | TridentError:
    try:
        check_deadline(parameters_of(request))
        is_live = id_of(request) != GOLDEN_REQUEST
    except TridentError as error:
        return error
    return (
        backend.get_input_tensor_by_name(request, INPUT_IDS).as_numpy(),
        backend.get_input_tensor_by_name(request, ATTENTION_MASK).as_numpy(),
        is_live,
    )
