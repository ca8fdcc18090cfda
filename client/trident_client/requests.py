"""What is sent, whatever it is sent with: questions turned into tensors, a list into parts of the server's size."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trident_client.arguments import (
    check_list,
    check_prefix,
    check_query,
    integer,
    knobs,
    options_of,
    options_text,
    text_tensor,
)
from trident_client.errors import InvalidRequestError
from trident_client.tensors import (
    COUNT,
    DETAILS,
    EMBEDDING,
    GENERATION,
    K_DEFAULT,
    MAX_BATCH,
    OPTIONS,
    PREFIX,
    PRODUCT_ID,
    QUERY,
    SCORE,
    SIDE,
    SOURCE,
    SUGGEST_K_MAX,
    SUGGESTION,
    TEXT,
    TITLE,
    K,
)

SEARCH, EMBED, SUGGEST = "search", "embed", "suggest"  # models
SEARCH_OUTPUTS = (PRODUCT_ID, SCORE, TITLE, COUNT, DETAILS, GENERATION)
Mode = Literal["hybrid", "dense", "lexical"]
EMBED_OUTPUTS = (EMBEDDING, GENERATION)
SUGGEST_OUTPUTS = (SUGGESTION, SOURCE, COUNT, GENERATION)


@dataclass(frozen=True, eq=False)
class Request:
    """One request to a model.

    Attributes:
        model: Its name.
        texts: What it is asked, a row each.
        inputs: Its tensors by name; the first dimension is that of the texts.
        outputs: Names of the tensors that are wanted.
        id: Of the request; an answer's id is this and the number of its row.
        headers: Sent with it, beside those of the client's behaviour.
        may_repeat: Whether asking twice changes nothing.
    """

    model: str
    texts: Sequence[str]
    inputs: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...]
    id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    may_repeat: bool = True


NAMED_OPTIONS = (
    *("filter", "fields", "facets", "sort", "group", "like"),
    *("min_probability", "rerank", "rerank_budget_ms"),
)  # keys of the options that are arguments of a search too, beside the offset


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is wanted of a search, as the arguments of ``SearchClient.search``."""

    k: int = K_DEFAULT
    ef: int | None = None
    min_score: float | None = None
    filter: Mapping[str, Any] | None = None
    fields: Sequence[str] | None = None
    facets: Sequence[str] | Mapping[str, Any] | None = None
    sort: str | Sequence[str] | None = None
    group: str | None = None
    offset: int = 0
    like: str | None = None
    min_probability: float | None = None
    rerank: int | None = None
    rerank_budget_ms: float | None = None
    rules: bool = True
    mode: Mode | None = None
    explain: bool = False
    spelling: bool = True
    timings: bool = False
    options: Mapping[str, Any] | None = None

    def all_options(self) -> Any:
        """Return the options, those that have a name of their own among them.

        Raises:
            InvalidRequestError: If something is given both ways.
        """
        named = {name: getattr(self, name) for name in NAMED_OPTIONS}
        named |= {"offset": self.offset or None, "mode": self.mode}
        named |= {name: getattr(self, name) or None for name in ("explain", "timings")}
        unless_true = {name: None if getattr(self, name) else False for name in ("rules", "spelling")}
        return options_of(self.options, {**named, **unless_true})


def search_requests(queries: Sequence[str], wanted: Wanted) -> list[Request]:
    """Return the requests that search for queries, in their order.

    Raises:
        InvalidRequestError: If a query or something wanted breaks a rule.
    """
    options = wanted.all_options()
    if options and len(queries) == 1:
        check_query(queries[0], options)  # an empty one browses
    else:
        check_list(queries, QUERY)
    values, more = knobs(wanted.k, wanted.ef, wanted.min_score), options_text(options)
    requests = []
    for part in _parts(queries):
        inputs: dict[str, NDArray[Any]] = {QUERY: text_tensor(part)}
        inputs |= {name: np.full((len(part), 1), value) for name, value in values.items()}
        if more is not None:
            inputs[OPTIONS] = text_tensor([more] * len(part))
        requests.append(Request(SEARCH, part, inputs, SEARCH_OUTPUTS, uuid.uuid4().hex))
    return requests


def embed_requests(texts: Sequence[str], side: str) -> list[Request]:
    """Return the requests that embed texts, in their order.

    Raises:
        InvalidRequestError: If a text or the side breaks a rule.
    """
    if side not in ("query", "product"):
        raise InvalidRequestError(f"side must be query or product, got {side!r}")
    check_list(texts, side)
    return [
        Request(
            EMBED,
            part,
            {TEXT: text_tensor(part), SIDE: text_tensor([side] * len(part))},
            EMBED_OUTPUTS,
            uuid.uuid4().hex,
        )
        for part in _parts(texts)
    ]


def suggest_request(prefix: str, k: int) -> Request:
    """Return the request for what may follow a prefix.

    Raises:
        InvalidRequestError: If the prefix is no text, or k out of its range.
    """
    check_prefix(prefix)
    inputs: dict[str, NDArray[Any]] = {PREFIX: text_tensor([prefix]), K: np.array([[integer(K, k, SUGGEST_K_MAX)]])}
    return Request(SUGGEST, [prefix], inputs, SUGGEST_OUTPUTS, uuid.uuid4().hex)


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), MAX_BATCH):
        yield texts[start : start + MAX_BATCH]
