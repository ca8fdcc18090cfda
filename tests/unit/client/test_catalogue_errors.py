"""What the client says where the catalogue refuses an operation."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from trident_client import (
    CatalogueFollowsError,
    CatalogueFullError,
    CatalogueStoppedError,
    InvalidRequestError,
    SearchClient,
    UnexpectedAnswerError,
    UnknownOutcomeError,
    WriteKeyError,
)
from trident_client.answers import Answer
from trident_client.catalogue import Outcomes
from trident_client.errors import translate


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("PERMISSION_DENIED: the key", "INVALID_ARGUMENT", WriteKeyError),
        ("RESOURCE_EXHAUSTED: the disk", "UNAVAILABLE", CatalogueFullError),
        ("UNAVAILABLE: a promotion", "UNAVAILABLE", CatalogueStoppedError),
        ("FOLLOWS: another", "UNAVAILABLE", CatalogueFollowsError),
        ("UNKNOWN_OUTCOME: a sync", "UNAVAILABLE", UnknownOutcomeError),
        ("UNKNOWN_OUTCOME: a sync", "503", UnknownOutcomeError),
    ],
)
def test_what_a_catalogue_refuses_says_what_is_known(text, status, kind):
    error = translate(InferenceServerException(msg=text, status=status), "h:1", 2.5)
    assert type(error) is kind
    assert str(error) == text.partition(": ")[2]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"{", r"^the catalogue must answer a JSON object, got none \("),
        (b"7", r"^the catalogue must answer a JSON object, got 7$"),
        (b'{"number": 1}', "^1 operations must have as many outcomes, got None$"),
        (b'{"outcomes": ["done"]}', "^the catalogue's number must be one, got None$"),
        (b'{"outcomes": ["lost"], "number": 1}', "^an outcome must be done, stale, touched, unknown, got 'lost'$"),
        (b'{"outcomes": [["done"]], "number": 1}', "^an outcome must be done, .*, got "),
    ],
)
def test_a_catalogue_that_answers_something_else(said: bytes, message: str) -> None:
    answer = Answer({"result": np.array([said], dtype=np.object_)}, 1)
    with pytest.raises(UnexpectedAnswerError, match=message):
        Outcomes().take([{"op": "delete", "id": "a"}], answer)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"bytes"])
def test_an_operation_that_is_no_json_is_refused_before_it_is_sent(closed_port, value):
    with (
        SearchClient(f"127.0.0.1:{closed_port}", write_key="k") as client,
        pytest.raises(InvalidRequestError, match=r"operations must be made of JSON's types and finite numbers"),
    ):
        client.upsert([{"id": "1", "title": "a", "attributes": {"price": value}}])
