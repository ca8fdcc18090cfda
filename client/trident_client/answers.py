"""What comes back, whatever it came with: tensors turned into results and embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident_client.errors import UnexpectedAnswerError
from trident_client.requests import Request
from trident_client.results import Hit, SearchResult, Suggestion, SuggestResult
from trident_client.tensors import COUNT, DETAILS, EMBEDDING, GENERATION, PRODUCT_ID, SCORE, SOURCE, SUGGESTION, TITLE


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs of a model by name, and the version of the model that gave them."""

    tensors: Mapping[str, NDArray[Any]]
    model_version: int


def read_results(request: Request, answer: Answer) -> list[SearchResult]:
    """Return the results of a search, one for each of its queries.

    Raises:
        UnexpectedAnswerError: If the answer does not keep the contract.
    """
    tensors = answer.tensors
    _check_rows(tensors, len(request.texts))
    results = []
    for row, query in enumerate(request.texts):
        count = int(tensors[COUNT][row, 0])
        columns = (tensors[name][row, :count] for name in (PRODUCT_ID, SCORE, TITLE))
        details = read_details(tensors[DETAILS][row, 0])
        of_each = (_of_each_hit(details, name, count) for name in ("attributes", "explain"))
        hits = tuple(
            Hit(pid.decode(), float(score), title.decode(), own, chance, parts)
            for pid, score, title, own, parts, chance in zip(
                *columns, *of_each, _probabilities(details, count), strict=True
            )
        )
        results.append(
            SearchResult(
                query,
                tensors[GENERATION][row, 0].decode(),
                answer.model_version,
                hits,
                details,
                f"{request.id}-{row}",
            )
        )
    return results


def read_suggestions(request: Request, answer: Answer) -> SuggestResult:
    """Return the suggestions for a prefix.

    Raises:
        UnexpectedAnswerError: If the answer does not keep the contract.
    """
    tensors = answer.tensors
    _check_rows(tensors, 1)
    count = int(tensors[COUNT][0, 0])
    columns = (tensors[name][0, :count] for name in (SUGGESTION, SOURCE))
    found = tuple(Suggestion(text.decode(), source.decode()) for text, source in zip(*columns, strict=True))
    return SuggestResult(request.texts[0], tensors[GENERATION][0, 0].decode(), answer.model_version, found)


def read_embeddings(requests: Sequence[Request], answers: Sequence[Answer]) -> NDArray[np.float32]:
    """Return the embeddings (N, D) of all texts of several requests.

    Raises:
        UnexpectedAnswerError: If an answer does not keep the contract, or they are of several generations.
    """
    generations: set[str] = set()
    for request, answer in zip(requests, answers, strict=True):
        _check_rows(answer.tensors, len(request.texts))
        generations |= {value.decode() for value in answer.tensors[GENERATION][:, 0]}
    if len(generations) > 1:  # their embeddings cannot be compared
        texts = sum(len(request.texts) for request in requests)
        raise UnexpectedAnswerError(
            f"{texts} texts must be embedded by one generation, got {', '.join(sorted(generations))}: the "
            "server was promoted meanwhile; embed them again"
        )
    return np.concatenate([answer.tensors[EMBEDDING] for answer in answers])


def read_details(text: bytes) -> dict[str, Any]:
    """Return what else the server says of an answer.

    Raises:
        UnexpectedAnswerError: If it is no JSON object.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UnexpectedAnswerError(f"details of an answer must be JSON, got {text[:60]!r} ({error})") from error
    if not isinstance(found, dict):
        raise UnexpectedAnswerError(f"details of an answer must be one JSON object, got {text[:60]!r}")
    return found


def _of_each_hit(details: Mapping[str, Any], name: str, count: int) -> list[dict[str, Any]]:
    found = details.get(name, [{}] * count)
    if not isinstance(found, list) or len(found) != count or not all(isinstance(each, dict) for each in found):
        raise UnexpectedAnswerError(f"{name} of an answer must be one object a product, got {str(found)[:60]}")
    return found


def _probabilities(details: Mapping[str, Any], count: int) -> list[float | None]:
    found = details.get("probability", [None] * count)
    numbers = isinstance(found, list) and all(each is None or isinstance(each, int | float) for each in found)
    if not numbers or len(found) != count:
        raise UnexpectedAnswerError(f"probability of an answer must be one number a product, got {str(found)[:60]}")
    probabilities: list[float | None] = found
    return probabilities


def _check_rows(tensors: Mapping[str, NDArray[Any]], rows: int) -> None:
    if any(len(values) != rows for values in tensors.values()):
        shapes = {name: values.shape for name, values in tensors.items()}
        raise UnexpectedAnswerError(f"{rows} texts must have {rows} answers, got tensors of shapes {shapes}")
