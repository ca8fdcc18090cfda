"""What the encoder's model does with a batch of requests: together, each with its own fate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from trident.errors import ModelError, OverloadError
from trident.search.admission import Admission
from trident.search.encoding import Request, RequestEncoder

VOCABULARY = 100


class Sums:
    """An encoder whose embedding is the sum of the ids; it refuses ids outside the vocabulary."""

    def __init__(self) -> None:
        self.asked: list[int] = []  # rows of each call

    def embed_ids(self, rows: Sequence[Sequence[int]], *, pad_id: int) -> NDArray[np.float32]:
        self.asked.append(len(rows))
        if any(max(row) >= VOCABULARY for row in rows):
            raise ModelError(f"token ids must be < {VOCABULARY}")
        return np.array([[sum(row)] for row in rows], dtype=np.float32).reshape(len(rows), 1)


@pytest.fixture
def encoder() -> Sums:
    return Sums()


def admission(max_wait_s: float = 10.0, full_rows: int = 100) -> Admission:
    return Admission(full_rows=full_rows, max_wait_s=max_wait_s)


def request(*rows: list[int], live: bool = True, width: int = 4) -> Request:
    ids = np.array([row + [0] * (width - len(row)) for row in rows], dtype=np.int64)
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows], dtype=np.int64)
    return ids, mask, live


def test_requests_of_different_lengths_are_embedded_together(encoder: Sums) -> None:
    answers = RequestEncoder(encoder, admission()).answers(
        [request([1], [2, 3]), request([4, 5, 6, 7, 8], width=5), request([9])]
    )
    assert [answer.tolist() for answer in answers] == [[[1], [5]], [[30]], [[9]]]
    assert encoder.asked == [4]


def test_a_bad_request_fails_no_other(encoder: Sums) -> None:
    answers = RequestEncoder(encoder, admission()).answers([request([1]), request([VOCABULARY]), request([2])])
    assert [answers[0].tolist(), answers[2].tolist()] == [[[1]], [[2]]]
    assert isinstance(answers[1], ModelError)


def test_the_last_requests_are_rejected_and_golden_ones_never(encoder: Sums) -> None:
    impatient = RequestEncoder(encoder, admission(max_wait_s=0.0, full_rows=2))
    asked = [request([1]), request([2]), request([3], live=False)]
    impatient.answers(asked)  # full: others may wait, and nobody may
    answers = impatient.answers(asked)
    assert [isinstance(answer, OverloadError) for answer in answers] == [True, True, False]
    assert answers[2].tolist() == [[3]]
    assert "overloaded: requests must not wait longer than 0 s" in str(answers[0])


class Broken:
    """An encoder that fails in a way that nobody foresaw."""

    def embed_ids(self, rows: Sequence[Sequence[int]], *, pad_id: int) -> NDArray[np.float32]:
        raise RuntimeError("out of something")


def test_the_queue_goes_on_after_a_failure(encoder: Sums) -> None:
    times = iter(range(100))
    own = Admission(full_rows=100, max_wait_s=1.0, clock=lambda: float(next(times)))
    with pytest.raises(RuntimeError, match="out of something"):
        RequestEncoder(Broken(), own).answers([request([1])])
    assert [answer.tolist() for answer in RequestEncoder(encoder, own).answers([request([1])])] == [[[1]]]
