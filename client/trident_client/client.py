"""``SearchClient``: text in, products out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trident_client.errors import InvalidRequestError, UnexpectedAnswerError
from trident_client.results import Hit, SearchResult
from trident_client.tensors import (
    COUNT,
    EF,
    EMBEDDING,
    GENERATION,
    K_DEFAULT,
    K_MAX,
    MAX_BATCH,
    MIN_SCORE,
    PRODUCT_ID,
    QUERY,
    SCORE,
    SIDE,
    TEXT,
    TITLE,
    K,
)
from trident_client.transport import Protocol, Transport, check_protocol

SEARCH, EMBED = "search", "embed"


class SearchClient:
    """A client of one server; use it as a context manager, or call ``close``.

    The gRPC client may be used by several threads at once; give each thread its own HTTP client.

    Args:
        url: ``host:port``, by default the gRPC port of a server on this machine.
        protocol: ``"grpc"`` or ``"http"``; the ports differ (8001 and 8000 by default).
        timeout_s: Seconds to wait for an answer.
        concurrency: Connections that the HTTP client may open.

    Raises:
        InvalidRequestError: If protocol, timeout_s or concurrency breaks a rule.
    """

    def __init__(
        self, url: str = "127.0.0.1:8001", *, protocol: Protocol = "grpc", timeout_s: float = 10.0, concurrency: int = 1
    ) -> None:
        """Prepare the client; nothing is sent yet."""
        check_protocol(protocol)
        if not timeout_s > 0:
            raise InvalidRequestError(f"timeout_s must be > 0, got {timeout_s}")
        if concurrency < 1:
            raise InvalidRequestError(f"concurrency must be >= 1, got {concurrency}")
        self._transport = Transport(url, protocol, timeout_s, concurrency)

    def __enter__(self) -> SearchClient:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def is_ready(self) -> bool:
        """Return whether the server answers searches."""
        return self._transport.is_ready(SEARCH)

    def search(
        self, query: str, *, k: int = K_DEFAULT, ef: int | None = None, min_score: float | None = None
    ) -> SearchResult:
        """Return the products found for a query.

        Args:
            query: Not empty.
            k: Products to find at most, 1 to 1000.
            ef: Search effort, >= 1; None takes the index's own.
            min_score: Products with a lower cosine are left out, -1 to 1; None leaves out none.

        Raises:
            InvalidRequestError: If an argument breaks a rule.
            ServerUnavailableError: If nobody answers, or no generation is loaded.
            RequestTimeoutError: If the answer takes longer than ``timeout_s``.
            ServerOverloadedError: If the server rejects the request to protect itself.
        """
        return self.search_many([query], k=k, ef=ef, min_score=min_score)[0]

    def search_many(
        self, queries: Sequence[str], *, k: int = K_DEFAULT, ef: int | None = None, min_score: float | None = None
    ) -> list[SearchResult]:
        """Return the results of several queries in their order, sent 64 at a time; else as ``search``."""
        knobs = _knobs(k, ef, min_score)
        results = []
        for part in _parts(queries):
            inputs = {QUERY: _texts(part, "query")}
            inputs |= {name: np.full((len(part), 1), value) for name, value in knobs.items()}
            answer = self._transport.infer(SEARCH, inputs, (PRODUCT_ID, SCORE, TITLE, COUNT, GENERATION))
            results += _results(part, answer)
        return results

    def embed(self, texts: Sequence[str], *, side: Literal["query", "product"] = "query") -> NDArray[np.float32]:
        """Return the embeddings (N, D) float32, unit length, of N texts; errors as ``search``.

        Args:
            texts: Not empty.
            side: Whether they are queries or product titles; the model may treat them differently.
        """
        if side not in ("query", "product"):
            raise InvalidRequestError(f"side must be query or product, got {side!r}")
        rows = []
        for part in _parts(texts):
            inputs = {TEXT: _texts(part, "text"), SIDE: _texts([side] * len(part), "side")}
            rows.append(self._transport.infer(EMBED, inputs, (EMBEDDING,))[EMBEDDING])
        return np.concatenate(rows)


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    if isinstance(texts, str) or not len(texts):
        raise InvalidRequestError(f"a list of at least one text is needed, got {texts!r}")
    for start in range(0, len(texts), MAX_BATCH):
        yield texts[start : start + MAX_BATCH]


def _texts(texts: Sequence[str], name: str) -> NDArray[np.object_]:
    for text in texts:
        if not text.strip():
            raise InvalidRequestError(f"{name} must not be empty, got {text!r}")
    return np.array([[text.encode()] for text in texts], dtype=np.object_)  # (B, 1)


def _knobs(k: int, ef: int | None, min_score: float | None) -> dict[str, Any]:
    if not 1 <= k <= K_MAX:
        raise InvalidRequestError(f"k must be 1 to {K_MAX}, got {k}")
    knobs: dict[str, Any] = {K: np.int32(k)}
    if ef is not None:
        if ef < 1:
            raise InvalidRequestError(f"ef must be >= 1, got {ef}")
        knobs[EF] = np.int32(ef)
    if min_score is not None:
        if not -1 <= min_score <= 1:
            raise InvalidRequestError(f"min_score must be -1 to 1, a cosine, got {min_score}")
        knobs[MIN_SCORE] = np.float32(min_score)
    return knobs


def _results(queries: Sequence[str], answer: dict[str, NDArray[Any]]) -> list[SearchResult]:
    rows = len(queries)
    if any(len(values) != rows for values in answer.values()):
        shapes = {name: values.shape for name, values in answer.items()}
        raise UnexpectedAnswerError(f"{rows} queries must have {rows} answers, got tensors of shapes {shapes}")
    results = []
    for row, query in enumerate(queries):
        count = int(answer[COUNT][row, 0])
        columns = (answer[PRODUCT_ID][row, :count], answer[SCORE][row, :count], answer[TITLE][row, :count])
        hits = tuple(
            Hit(pid.decode(), float(score), title.decode()) for pid, score, title in zip(*columns, strict=True)
        )
        results.append(SearchResult(query, answer[GENERATION][row, 0].decode(), hits))
    return results
