"""What comes back, whatever it came with: tensors turned into results and embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trident_client.errors import UnexpectedAnswerError
from trident_client.requests import Request
from trident_client.results import Hit, SearchResult, Suggestion, SuggestResult
from trident_client.tensors import COUNT, DETAILS, EMBEDDING, GENERATION, PRODUCT_ID, SCORE, SOURCE, SUGGESTION, TITLE

NOT_KEPT = (ValueError, KeyError, IndexError, TypeError, AttributeError)  # of whoever reads what is not there
NOTHING = b"{}"
Read = TypeVar("Read")


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
    return _kept(answer, lambda: _results(request, answer))


def read_suggestions(request: Request, answer: Answer) -> SuggestResult:
    """Return the suggestions for a prefix.

    Raises:
        UnexpectedAnswerError: If the answer does not keep the contract.
    """
    return _kept(answer, lambda: _suggestions(request, answer))


def read_embeddings(requests: Sequence[Request], answers: Sequence[Answer]) -> NDArray[np.float32]:
    """Return the embeddings (N, D) of all texts of several requests.

    Raises:
        UnexpectedAnswerError: If an answer does not keep the contract, or they are of several generations.
    """
    return _kept(answers[0], lambda: _embeddings(requests, answers))


def _results(request: Request, answer: Answer) -> list[SearchResult]:
    tensors = answer.tensors
    _check_rows(tensors, len(request.texts))
    # Lists, not rows of tensors: numpy makes an object for each element that is looked at.
    counts, generations, of_rows = (tensors[name][:, 0].tolist() for name in (COUNT, GENERATION, DETAILS))
    columns = [tensors[name].tolist() for name in (PRODUCT_ID, SCORE, TITLE)]
    results = []
    for row, query in enumerate(request.texts):
        details = read_details(of_rows[row])
        hits = _hits(counts[row], [column[row] for column in columns], details)
        generation = generations[row].decode()
        results.append(SearchResult(query, generation, answer.model_version, hits, details, f"{request.id}-{row}"))
    return results


def _hits(count: int, columns: Sequence[Sequence[Any]], details: Mapping[str, Any]) -> tuple[Hit, ...]:
    """Return the first ``count`` of ids, scores and titles as hits."""
    if not 0 <= count <= len(columns[0]):
        raise ValueError(f"{count} products in {len(columns[0])} places")
    ids, scores, titles = (column[:count] for column in columns)
    if not details:
        return tuple(
            Hit(pid.decode(), score, title.decode()) for pid, score, title in zip(ids, scores, titles, strict=True)
        )
    attributes, parts = (_of_each_hit(details, name, count) for name in ("attributes", "explain"))
    chances = _probabilities(details, count)
    return tuple(
        Hit(pid.decode(), score, title.decode(), own, chance, explained)
        for pid, score, title, own, chance, explained in zip(
            ids, scores, titles, attributes, chances, parts, strict=True
        )
    )


def _suggestions(request: Request, answer: Answer) -> SuggestResult:
    tensors = answer.tensors
    _check_rows(tensors, 1)
    count = int(tensors[COUNT][0, 0])
    texts, sources = (tensors[name][0].tolist() for name in (SUGGESTION, SOURCE))
    if not 0 <= count <= len(texts):
        raise ValueError(f"{count} suggestions in {len(texts)} places")
    found = tuple(
        Suggestion(text.decode(), source.decode()) for text, source in zip(texts[:count], sources[:count], strict=True)
    )
    return SuggestResult(request.texts[0], tensors[GENERATION][0, 0].decode(), answer.model_version, found)


def _embeddings(requests: Sequence[Request], answers: Sequence[Answer]) -> NDArray[np.float32]:
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
    found = [answer.tensors[EMBEDDING] for answer in answers]
    if any(each.ndim != 2 or each.dtype != np.float32 for each in found):
        raise ValueError(f"embeddings of {found[0].ndim} dimensions and type {found[0].dtype}")
    return np.concatenate(found)


def _kept(answer: Answer, read: Callable[[], Read]) -> Read:
    """Return what is read of an answer that keeps the contract.

    Raises:
        UnexpectedAnswerError: If it does not: another shape or type, more products than places, a text that is none.
    """
    try:
        return read()
    except NOT_KEPT as error:
        shapes = ", ".join(f"{name} {values.shape} {values.dtype}" for name, values in answer.tensors.items())
        raise UnexpectedAnswerError(
            f"an answer must keep the contract of this client's version, got {shapes} ({error})"
        ) from error


def read_details(text: bytes) -> dict[str, Any]:
    """Return what else the server says of an answer.

    Raises:
        UnexpectedAnswerError: If it is no JSON object.
    """
    if text == NOTHING:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswerError(f"details of an answer must be JSON, got {text[:60]!r} ({error})") from error
    if not isinstance(found, dict):
        raise UnexpectedAnswerError(f"details of an answer must be one JSON object, got {text[:60]!r}")
    return found


def _of_each_hit(details: Mapping[str, Any], name: str, count: int) -> list[dict[str, Any]]:
    found = details.get(name) if name in details else [{} for _ in range(count)]
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
