"""Haystack: the server's embeddings, and its catalogue as a retriever. Extra ``haystack``.

pipeline.add_component("retriever", TridentRetriever("127.0.0.1:8001", top_k=5, fields=["brand"]))
pipeline.run({"retriever": {"query": "deep learning books"}})

Haystack 3 loads a written pipeline with ``allowed_modules=["trident_client.*"]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import Secret

from trident_client.behaviour import Behaviour
from trident_client.errors import InvalidRequestError
from trident_client.frameworks.clients import Clients, metadata
from trident_client.frameworks.filters import condition, joined
from trident_client.results import SearchResult

QUERIES: Final = "query"  # side of the model


@component
class TridentTextEmbedder:
    """Embeds queries by the generation in service.

    Args:
        url: Of the server, as ``SearchClient`` takes it.
        timeout_s: Seconds to wait for an answer.
        token: Of who guards the server.

    Raises:
        ClientError: As ``SearchClient.embed``.
    """

    def __init__(self, url: str = "127.0.0.1:8001", timeout_s: float = 10.0, token: Secret | None = None) -> None:
        """Prepare the clients; nothing is sent yet."""
        self.url, self.timeout_s, self.token = url, timeout_s, token
        self.clients = _clients(url, timeout_s, token)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """Return the ``embedding`` of a query."""
        return {"embedding": self.clients.at_once.embed([text], side=QUERIES)[0].tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, Any]:
        """Return the ``embedding`` of a query."""
        return {"embedding": (await self.clients.awaited.embed([text], side=QUERIES))[0].tolist()}

    def to_dict(self) -> dict[str, Any]:
        """Return how it was made."""
        return default_to_dict(self, url=self.url, timeout_s=self.timeout_s, token=_written(self.token))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TridentTextEmbedder:
        """Return one that is made as another was."""
        made: TridentTextEmbedder = _read(cls, data)
        return made


@component
class TridentRetriever:
    """Finds documents by a query's text: products, with the title as content, attributes as meta, cosines as scores.

    Args:
        url: Of the server, as ``SearchClient`` takes it.
        top_k: Products to find at most.
        filters: What leaves products out, in Haystack's words or Trident's.
        fields: Attributes that documents carry as meta.
        timeout_s: Seconds to wait for an answer.
        token: Of who guards the server.

    Raises:
        ClientError: As ``SearchClient.search``.
        InvalidRequestError: If a filter of Haystack asks for what the server cannot do.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        top_k: int = 10,
        filters: dict[str, Any] | None = None,
        fields: Sequence[str] = (),
        timeout_s: float = 10.0,
        token: Secret | None = None,
    ) -> None:
        """Prepare the clients; nothing is sent yet."""
        self.url, self.timeout_s, self.token = url, timeout_s, token
        self.top_k, self.filters, self.fields = top_k, filters, list(fields)
        self.clients = _clients(url, timeout_s, token)

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None) -> dict[str, Any]:
        """Return the best ``documents``; ``filters`` and ``top_k`` stand in place of those that it was made with."""
        return _documents(self.clients.at_once.search(query, **self._wanted(filters, top_k)))

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Return the best ``documents``."""
        return _documents(await self.clients.awaited.search(query, **self._wanted(filters, top_k)))

    def to_dict(self) -> dict[str, Any]:
        """Return how it was made."""
        return default_to_dict(
            self,
            url=self.url,
            top_k=self.top_k,
            filters=self.filters,
            fields=self.fields,
            timeout_s=self.timeout_s,
            token=_written(self.token),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TridentRetriever:
        """Return one that is made as another was."""
        made: TridentRetriever = _read(cls, data)
        return made

    def _wanted(self, filters: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
        given = self.filters if filters is None else filters
        return {
            "k": self.top_k if top_k is None else top_k,
            "filter": filter_of(given) if given else None,
            "fields": self.fields or None,
        }


def filter_of(filters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a filter of Haystack in Trident's words; one that is in them already stays.

    Raises:
        InvalidRequestError: If the server cannot do what it asks for.
    """
    if "operator" not in filters:
        return filters
    if "conditions" in filters:
        return joined(filters["operator"], [filter_of(each) for each in filters["conditions"]])
    if "field" not in filters or "value" not in filters:
        raise InvalidRequestError(f"a condition must have field, operator and value, got {', '.join(sorted(filters))}")
    return condition(filters["field"].removeprefix("meta."), filters["operator"], filters["value"])


def _clients(url: str, timeout_s: float, token: Secret | None) -> Clients:
    value = None if token is None else token.resolve_value()
    return Clients(url, timeout_s=timeout_s, behaviour=None if value is None else Behaviour(token=value))


def _written(token: Secret | None) -> dict[str, Any] | None:
    return None if token is None else token.to_dict()


def _read(kind: Any, data: dict[str, Any]) -> Any:
    parameters = dict(data.get("init_parameters", {}))
    if isinstance(parameters.get("token"), dict):
        parameters["token"] = Secret.from_dict(parameters["token"])
    return default_from_dict(kind, {**data, "init_parameters": parameters})


def _documents(result: SearchResult) -> dict[str, Any]:
    return {
        "documents": [
            Document(id=hit.product_id, content=hit.title, meta=metadata(hit), score=hit.score) for hit in result.hits
        ]
    }
