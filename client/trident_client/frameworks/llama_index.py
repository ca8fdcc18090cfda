"""LlamaIndex: the server's embeddings, and its catalogue as a retriever. Extra ``llama-index``.

retriever = TridentRetriever("127.0.0.1:8001", k=5, fields=["brand"], filter={"in_stock": True})
nodes = await retriever.aretrieve("deep learning books")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from trident_client.behaviour import Behaviour
from trident_client.errors import InvalidRequestError
from trident_client.frameworks.clients import Clients, metadata
from trident_client.frameworks.filters import condition, joined
from trident_client.results import SearchResult
from trident_client.tls import Tls

TITLES: Final = "product"  # a side of the model
QUERIES: Final = "query"  # the other
# Operators that have another spelling, or hold of lists.
SPELLED = {FilterOperator.NIN: "not in", FilterOperator.ANY: "in", FilterOperator.CONTAINS: "=="}


class TridentEmbedding(BaseEmbedding):
    """Embeddings of unit length by the generation in service: texts as product titles, queries as queries.

    ``url`` and ``timeout_s`` are those of ``SearchClient``; ``tls`` and ``behaviour`` too, which are not written down
    with the rest.

    Raises:
        ClientError: As ``SearchClient.embed``.
    """

    url: str = Field(default="127.0.0.1:8001", description="Of the server.")
    timeout_s: float = Field(default=10.0, description="Seconds to wait for 64 texts.")
    tls: Tls | None = Field(default=None, exclude=True)
    behaviour: Behaviour | None = Field(default=None, exclude=True, repr=False)
    _clients: Clients = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Prepare the clients; nothing is sent yet."""
        super().model_post_init(context)
        self._clients = Clients(self.url, timeout_s=self.timeout_s, tls=self.tls, behaviour=self.behaviour)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that it is written down with."""
        return "TridentEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        found: list[float] = self._clients.at_once.embed([query], side=QUERIES)[0].tolist()
        return found

    async def _aget_query_embedding(self, query: str) -> list[float]:
        found: list[float] = (await self._clients.awaited.embed([query], side=QUERIES))[0].tolist()
        return found

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = self._clients.at_once.embed(texts, side=TITLES).tolist()
        return found

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = (await self._clients.awaited.embed(texts, side=TITLES)).tolist()
        return found


class TridentRetriever(BaseRetriever):
    """The catalogue of a server: nodes are products, with the title as text, attributes as metadata, cosines as scores.

    Args:
        url: Of the server, as ``SearchClient`` takes it; so are the other arguments.
        k: Products to find at most.
        fields: Attributes that nodes carry as metadata.
        filter: What leaves products out: Trident's own, or LlamaIndex's.
        options: What else a search is told.
        timeout_s: Seconds to wait for an answer.
        tls: For a server that speaks TLS.
        behaviour: Repeats, headers, a token.

    Raises:
        ClientError: As ``SearchClient.search``.
        InvalidRequestError: If a filter of LlamaIndex asks for what the server cannot do.
    """

    def __init__(  # noqa: PLR0913 - what a search can be told, by name
        self,
        url: str = "127.0.0.1:8001",
        *,
        k: int = 10,
        fields: Sequence[str] = (),
        filter: Mapping[str, Any] | MetadataFilters | None = None,  # noqa: A002 - the name on every side
        options: Mapping[str, Any] | None = None,
        timeout_s: float = 10.0,
        tls: Tls | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        """Prepare the clients; nothing is sent yet."""
        super().__init__()
        self.clients = Clients(url, timeout_s=timeout_s, tls=tls, behaviour=behaviour)
        own = filter_of(filter) if isinstance(filter, MetadataFilters) else filter
        self._wanted: dict[str, Any] = {"k": k, "fields": list(fields) or None, "filter": own, "options": options}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self.clients.at_once.search(query_bundle.query_str, **self._wanted))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(await self.clients.awaited.search(query_bundle.query_str, **self._wanted))


def filter_of(filters: MetadataFilters) -> dict[str, Any]:
    """Return a filter of LlamaIndex in Trident's words.

    Raises:
        InvalidRequestError: If the server cannot do what it asks for.
    """
    parts = [filter_of(each) if isinstance(each, MetadataFilters) else _condition(each) for each in filters.filters]
    how = filters.condition or FilterCondition.AND
    if how is FilterCondition.NOT:  # none of them
        return joined("not", [joined("or", parts)])
    return joined(how.value, parts)


def _condition(given: MetadataFilter) -> dict[str, Any]:
    match given.operator:
        case FilterOperator.IS_EMPTY:
            return {given.key: {"missing": True}}
        case FilterOperator.ALL:
            return {given.key: {"all": given.value}}
        case FilterOperator.TEXT_MATCH | FilterOperator.TEXT_MATCH_INSENSITIVE:
            raise InvalidRequestError(
                f"the server compares whole values, got {given.operator.value} (field {given.key!r}): put the words "
                "into the query"
            )
    return condition(given.key, SPELLED.get(given.operator, given.operator.value), given.value)


def _nodes(result: SearchResult) -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=hit.product_id, text=hit.title, metadata=metadata(hit)), score=hit.score)
        for hit in result.hits
    ]
