"""``SearchClient``: text in, products out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trident_client.address import Protocol
from trident_client.arguments import check_list, knobs, options_text, text_tensor
from trident_client.catalogue import CatalogueCalls
from trident_client.errors import InvalidRequestError, UnexpectedAnswerError
from trident_client.results import Hit, SearchResult, ServerInfo
from trident_client.tensors import (
    COUNT,
    DETAILS,
    EMBEDDING,
    GENERATION,
    K_DEFAULT,
    MAX_BATCH,
    OPTIONS,
    PRODUCT_ID,
    QUERY,
    SCORE,
    SIDE,
    TEXT,
    TITLE,
)
from trident_client.tls import Tls
from trident_client.transport import Answer, Transport

SEARCH, EMBED = "search", "embed"


class SearchClient(CatalogueCalls):
    """A client of one server; use it as a context manager, or call ``close``.

    The gRPC client may be used by several threads at once; give each thread its own HTTP client. A process that was
    forked opens connections of its own.

    Args:
        url: ``host:port``, by default the gRPC port of a server on this machine; ``grpc://``, ``grpcs://``,
            ``http://`` or ``https://`` may stand in front.
        protocol: ``"grpc"`` or ``"http"``; the ports differ (8001 and 8000 by default).
        timeout_s: Seconds to wait for an answer; the server is told, and works for nobody who waits no longer.
            ``math.inf``: for ever.
        concurrency: Connections that the HTTP client may open.
        tls: For a server, or a proxy before it, that speaks TLS; None: none, unless the url says so.
        write_key: Of a live catalogue, for who writes to it; None: that of the variable ``TRIDENT_WRITE_KEY``.

    Raises:
        InvalidRequestError: If an argument breaks a rule.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        protocol: Protocol = "grpc",
        timeout_s: float = 10.0,
        concurrency: int = 1,
        tls: Tls | None = None,
        write_key: str | None = None,
    ) -> None:
        """Prepare the client; nothing is sent yet."""
        self._write_key = write_key
        if not timeout_s > 0:
            raise InvalidRequestError(f"timeout_s must be > 0, got {timeout_s}")
        if concurrency < 1:
            raise InvalidRequestError(f"concurrency must be >= 1, got {concurrency}")
        self._transport = Transport(url, protocol, timeout_s, concurrency, tls)

    def __enter__(self) -> SearchClient:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the client cannot be used again."""
        self._transport.close()

    def is_ready(self) -> bool:
        """Return whether the server answers searches."""
        return self._transport.is_ready(SEARCH)

    def server_info(self) -> ServerInfo:
        """Return what server it is and which generations it can search.

        Raises:
            ServerUnavailableError: If nobody answers, or no generation is loaded.
            RequestTimeoutError: If the answer takes longer than ``timeout_s``.
        """
        return self._transport.server_info(SEARCH)

    def search(
        self,
        query: str,
        *,
        k: int = K_DEFAULT,
        ef: int | None = None,
        min_score: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """Return the products found for a query.

        Args:
            query: Not empty; the server takes 10,000 bytes.
            k: Products to find at most, 1 to 1000.
            ef: Search effort, 1 to 10000; None takes the index's own.
            min_score: Products with a lower cosine are left out, -1 to 1; None leaves out none.
            options: What the generation in service knows beyond these, by name; an unknown name is refused.

        Raises:
            InvalidRequestError: If an argument breaks a rule.
            ServerUnavailableError: If nobody answers, or no generation is loaded.
            RequestTimeoutError: If the answer takes longer than ``timeout_s``.
            ServerOverloadedError: If the server rejects the request to protect itself.
            UnexpectedAnswerError: If client and server are of different versions, or the server failed.
        """
        return self.search_many([query], k=k, ef=ef, min_score=min_score, options=options)[0]

    def search_many(
        self,
        queries: Sequence[str],
        *,
        k: int = K_DEFAULT,
        ef: int | None = None,
        min_score: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> list[SearchResult]:
        """Return the results of several queries in their order, sent 64 at a time; else as ``search``."""
        check_list(queries, "query")
        values, more = knobs(k, ef, min_score), options_text(options)
        results = []
        for part in _parts(queries):
            inputs: dict[str, NDArray[Any]] = {QUERY: text_tensor(part)}
            inputs |= {name: np.full((len(part), 1), value) for name, value in values.items()}
            if more is not None:
                inputs[OPTIONS] = text_tensor([more] * len(part))
            answer = self._transport.infer(SEARCH, inputs, (PRODUCT_ID, SCORE, TITLE, COUNT, DETAILS, GENERATION))
            results += _results(part, answer)
        return results

    def embed(self, texts: Sequence[str], *, side: Literal["query", "product"] = "query") -> NDArray[np.float32]:
        """Return the embeddings (N, D) float32, unit length, of N texts, all of one generation.

        Args:
            texts: Not empty; sent 64 at a time.
            side: Whether they are queries or product titles; the model may treat them differently.

        Raises:
            UnexpectedAnswerError: As for ``search``, or if the server went to another generation meanwhile.
            ClientError: As for ``search``.
        """
        if side not in ("query", "product"):
            raise InvalidRequestError(f"side must be query or product, got {side!r}")
        check_list(texts, side)
        rows, generations = [], set()
        for part in _parts(texts):
            inputs = {TEXT: text_tensor(part), SIDE: text_tensor([side] * len(part))}
            tensors = self._transport.infer(EMBED, inputs, (EMBEDDING, GENERATION)).tensors
            _check_rows(tensors, len(part))
            rows.append(tensors[EMBEDDING])
            generations |= {value.decode() for value in tensors[GENERATION][:, 0]}
        if len(generations) > 1:  # their embeddings cannot be compared
            raise UnexpectedAnswerError(
                f"{len(texts)} texts must be embedded by one generation, got {', '.join(sorted(generations))}: the "
                "server was promoted meanwhile; embed them again"
            )
        return np.concatenate(rows)


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), MAX_BATCH):
        yield texts[start : start + MAX_BATCH]


def _results(queries: Sequence[str], answer: Answer) -> list[SearchResult]:
    tensors = answer.tensors
    _check_rows(tensors, len(queries))
    results = []
    for row, query in enumerate(queries):
        count = int(tensors[COUNT][row, 0])
        columns = (tensors[name][row, :count] for name in (PRODUCT_ID, SCORE, TITLE))
        hits = tuple(
            Hit(pid.decode(), float(score), title.decode()) for pid, score, title in zip(*columns, strict=True)
        )
        details = _details(tensors[DETAILS][row, 0])
        results.append(SearchResult(query, tensors[GENERATION][row, 0].decode(), answer.model_version, hits, details))
    return results


def _details(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UnexpectedAnswerError(f"details of an answer must be JSON, got {text[:60]!r} ({error})") from error
    if not isinstance(found, dict):
        raise UnexpectedAnswerError(f"details of an answer must be one JSON object, got {text[:60]!r}")
    return found


def _check_rows(tensors: Any, rows: int) -> None:
    if any(len(values) != rows for values in tensors.values()):
        shapes = {name: values.shape for name, values in tensors.items()}
        raise UnexpectedAnswerError(f"{rows} texts must have {rows} answers, got tensors of shapes {shapes}")
