"""LangChain: the server's embeddings, and its catalogue as a vector store. Extra ``langchain``.

store = TridentVectorStore("127.0.0.1:8001", fields=["brand", "price"])
retriever = store.as_retriever(search_kwargs={"k": 5, "filter": {"brand": "HP"}})
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from trident_client.behaviour import Behaviour
from trident_client.errors import InvalidRequestError
from trident_client.frameworks.clients import Clients, metadata, relevance, told
from trident_client.results import SearchResult
from trident_client.tls import Tls

TITLES: Final = "product"  # a side of the model
QUERIES: Final = "query"  # the other


class TridentEmbeddings(Embeddings):
    """Embeddings of unit length by the generation in service: documents as product titles, queries as queries.

    Args:
        url: Of the server, as ``SearchClient`` takes it; so are the other arguments.
        timeout_s: Seconds to wait for 64 texts.
        tls: For a server that speaks TLS.
        behaviour: Repeats, headers, a token.

    Raises:
        ClientError: As ``SearchClient.embed``.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        timeout_s: float = 10.0,
        tls: Tls | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        """Prepare the clients; nothing is sent yet."""
        self.clients = Clients(url, timeout_s=timeout_s, tls=tls, behaviour=behaviour)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the embeddings of product titles."""
        return self.clients.at_once.embed(texts, side=TITLES).tolist() if texts else []

    def embed_query(self, text: str) -> list[float]:
        """Return the embedding of a query."""
        found: list[float] = self.clients.at_once.embed([text], side=QUERIES)[0].tolist()
        return found

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the embeddings of product titles, without a thread."""
        return (await self.clients.awaited.embed(texts, side=TITLES)).tolist() if texts else []

    async def aembed_query(self, text: str) -> list[float]:
        """Return the embedding of a query, without a thread."""
        found: list[float] = (await self.clients.awaited.embed([text], side=QUERIES))[0].tolist()
        return found


class TridentVectorStore(VectorStore):
    """The catalogue of a server: documents are products, with the title as text and attributes as metadata.

    Searches take ``filter``, ``sort``, ``group``, ``offset``, ``ef``, ``min_score`` and ``options`` as
    ``SearchClient.search`` does. The server embeds; adding and deleting need a live catalogue and its write key.

    Args:
        url: Of the server, as ``SearchClient`` takes it; so are the other arguments.
        fields: Attributes that documents carry as metadata.
        timeout_s: Seconds to wait for an answer.
        tls: For a server that speaks TLS.
        behaviour: Repeats, headers, a token.
        write_key: Of a live catalogue; None: that of the variable ``TRIDENT_WRITE_KEY``.

    Raises:
        ClientError: As ``SearchClient``'s methods.
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        fields: Sequence[str] = (),
        timeout_s: float = 10.0,
        tls: Tls | None = None,
        behaviour: Behaviour | None = None,
        write_key: str | None = None,
    ) -> None:
        """Prepare the clients; nothing is sent yet."""
        self.clients = Clients(url, timeout_s=timeout_s, tls=tls, behaviour=behaviour, write_key=write_key)
        self._fields = list(fields) or None
        self._embeddings = TridentEmbeddings(url, timeout_s=timeout_s, tls=tls, behaviour=behaviour)

    @property
    def embeddings(self) -> TridentEmbeddings:
        """Return the server's own."""
        return self._embeddings

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the k best documents."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the k best documents."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """Return the k best documents and their cosines."""
        return _documents(self.clients.at_once.search(query, k=k, fields=self._fields, **told(kwargs)))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the k best documents and their cosines."""
        return _documents(await self.clients.awaited.search(query, k=k, fields=self._fields, **told(kwargs)))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return k of the ``fetch_k`` best documents that are unlike each other; 1 as ``lambda_mult``: the k best."""
        found = self.similarity_search(query, max(k, fetch_k), **kwargs)
        if not found:
            return []
        client = self.clients.at_once
        own = client.embed([query], side=QUERIES)[0]
        titles = client.embed([document.page_content for document in found], side=TITLES)
        return [found[row] for row in maximal_marginal_relevance(own, list(titles), lambda_mult=lambda_mult, k=k)]

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return k of the ``fetch_k`` best documents that are unlike each other."""
        found = await self.asimilarity_search(query, max(k, fetch_k), **kwargs)
        if not found:
            return []
        client = self.clients.awaited
        own = (await client.embed([query], side=QUERIES))[0]
        titles: np.ndarray[Any, Any] = await client.embed([each.page_content for each in found], side=TITLES)
        return [found[row] for row in maximal_marginal_relevance(own, list(titles), lambda_mult=lambda_mult, k=k)]

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Put texts into the live catalogue as titles; return their ids when they are durable and found.

        Args:
            texts: The titles.
            metadatas: The attributes of each; they must be in the catalogue's schema.
            ids: Of each; a product that has one is replaced. None, and None among them: a new one.
            kwargs: None are known.
        """
        products = _products(texts, metadatas, ids, kwargs)
        self.clients.at_once.upsert(products)
        return [product["id"] for product in products]

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Put texts into the live catalogue as titles, as ``add_texts``."""
        products = _products(texts, metadatas, ids, kwargs)
        await self.clients.awaited.upsert(products)
        return [product["id"] for product in products]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete products of the live catalogue; ids that it does not have are nothing.

        Raises:
            InvalidRequestError: If no ids are given: a whole catalogue is not deleted by leaving them out.
        """
        self.clients.at_once.delete(_ids(ids, kwargs))
        return True

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete products of the live catalogue, as ``delete``."""
        await self.clients.awaited.delete(_ids(ids, kwargs))
        return True

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> TridentVectorStore:
        """Return the store after putting texts into it; other keywords are those of the class.

        Raises:
            InvalidRequestError: If the embeddings are not Trident's: the server embeds by its own model.
        """
        store = cls(**_of_trident(embedding, kwargs))
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> TridentVectorStore:
        """Return the store after putting texts into it, as ``from_texts``."""
        store = cls(**_of_trident(embedding, kwargs))
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store


def _documents(result: SearchResult) -> list[tuple[Document, float]]:
    return [
        (Document(page_content=hit.title, metadata=metadata(hit), id=hit.product_id), hit.score) for hit in result.hits
    ]


def _products(
    texts: Iterable[str], metadatas: list[dict[str, Any]] | None, ids: Sequence[str | None] | None, rest: dict[str, Any]
) -> list[dict[str, Any]]:
    _nothing_else(rest)
    titles = list(texts)
    attributes, names = metadatas or [{}] * len(titles), ids or [None] * len(titles)
    if not len(titles) == len(attributes) == len(names):
        raise InvalidRequestError(
            f"each text needs its metadata and id, got {len(titles)} texts, {len(attributes)} metadatas and "
            f"{len(names)} ids"
        )
    return [
        {"id": name or uuid.uuid4().hex, "title": title, "attributes": own}
        for title, own, name in zip(titles, attributes, names, strict=True)
    ]


def _ids(ids: list[str] | None, rest: dict[str, Any]) -> list[str]:
    _nothing_else(rest)
    if ids is None:
        raise InvalidRequestError("delete needs ids: a whole catalogue is not deleted by leaving them out")
    return ids


def _nothing_else(rest: dict[str, Any]) -> None:
    if rest:
        raise InvalidRequestError(f"nothing else can be told here, got {min(rest)!r}")


def _of_trident(embedding: Embeddings, given: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(embedding, TridentEmbeddings):
        raise InvalidRequestError(
            f"the server embeds by its own model: pass TridentEmbeddings, got {type(embedding).__name__}"
        )
    return given
