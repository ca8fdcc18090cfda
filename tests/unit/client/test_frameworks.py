"""LangChain, LlamaIndex and Haystack over a small server: what is sent, what comes back, what is refused."""

from __future__ import annotations

import asyncio
import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from haystack import Document as HaystackDocument
from haystack import Pipeline
from haystack.utils import Secret
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from trident.attributes.filters import parse_filter
from trident.attributes.schema import Field, Schema
from trident_client import Behaviour, InvalidRequestError
from trident_client.frameworks import haystack, langchain, llama_index
from trident_client.frameworks.clients import Clients, relevance

DETAILS = {"attributes": [{"brand": "HP", "price": None}]}


@pytest.fixture(params=["grpc", "http"])
def url(request: pytest.FixtureRequest, triton: Any) -> str:
    triton.details = DETAILS
    return f"{request.param}://127.0.0.1:{triton.ports[request.param]}"


class Loop:
    """One event loop for a test; ``close`` says which clients are closed in it at the end."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.clients: list[Clients] = []

    def __call__(self, found: Any) -> Any:
        """Return what an answer is, awaited where it has to be."""
        return self.runner.run(found) if inspect.iscoroutine(found) else found

    def close(self, *of: Any) -> Any:
        """Return the first of what has clients, which are closed later."""
        self.clients += [each.clients for each in of]
        return of[0]


@pytest.fixture
def done() -> Iterator[Loop]:
    with asyncio.Runner() as runner:
        loop = Loop(runner)
        yield loop
        for clients in loop.clients:
            runner.run(clients.aclose())


@pytest.mark.parametrize("a", ["", "a"])
def test_langchain_finds_products(done: Loop, url: str, a: str) -> None:
    store = langchain.TridentVectorStore(url, fields=["brand", "price"])
    done.close(store)
    wanted = Document(page_content="sofa", metadata={"brand": "HP"}, id="sofa")
    assert done(getattr(store, f"{a}similarity_search")("sofa", k=3, filter={"brand": "HP"})) == [wanted]
    assert done(getattr(store, f"{a}similarity_search_with_score")("sofa")) == [(wanted, 0.5)]
    assert done(getattr(store, f"{a}max_marginal_relevance_search")("sofa", k=1)) == [wanted]
    with warnings.catch_warnings(action="error"):
        relevant = getattr(store, f"{a}similarity_search_with_relevance_scores")
        assert done(relevant("sofa", score_threshold=0.7)) == [(wanted, 0.75)]
        assert done(relevant("sofa", score_threshold=0.8)) == []
    retriever = store.as_retriever(search_kwargs={"k": 1})
    assert done(getattr(retriever, f"{a}invoke")("sofa")) == [wanted]
    with pytest.raises(InvalidRequestError, match=r"^a search may be told ef, min_score, filter, .*, got 'where'$"):
        done(getattr(store, f"{a}similarity_search")("sofa", where={}))


@pytest.mark.parametrize("a", ["", "a"])
def test_langchain_adds_and_deletes(triton: Any, done: Loop, url: str, a: str) -> None:
    store = langchain.TridentVectorStore(url, write_key="a-key")
    done.close(store)
    texts = ["sofa", "lamp"]
    assert done(getattr(store, f"{a}add_texts")(texts, [{"brand": "HP"}, {}], ids=["1", "2"])) == ["1", "2"]
    assert triton.seen[-1]["headers"]["trident-write-key"] == "a-key"
    made = done(getattr(store, f"{a}add_documents")([Document(page_content=text) for text in texts]))
    assert len(set(made)) == 2
    assert done(getattr(store, f"{a}delete")(["1", "2"]))
    embeddings = langchain.TridentEmbeddings(url)
    of_texts = getattr(langchain.TridentVectorStore, f"{a}from_texts")
    other = done(of_texts(texts, embeddings, ids=["1", None], url=url))
    assert isinstance(done.close(other), langchain.TridentVectorStore)
    for given, message in (
        (lambda: getattr(store, f"{a}delete")(), r"^delete needs ids: a whole catalogue is not deleted"),
        (lambda: getattr(store, f"{a}delete")(["1"], soft=True), r"^nothing else can be told here, got 'soft'$"),
        (lambda: getattr(store, f"{a}add_texts")(texts, [{}]), r"got 2 texts, 1 metadatas and 2 ids$"),
        (
            lambda: of_texts(texts, DeterministicFakeEmbedding(size=3)),
            r"^the server embeds by its own model: pass TridentEmbeddings, got DeterministicFakeEmbedding$",
        ),
    ):
        before = len(triton.seen)
        with pytest.raises(InvalidRequestError, match=message):
            done(given())
        assert len(triton.seen) == before


def test_nothing_found_is_no_document(triton: Any, done: Loop, url: str) -> None:
    triton.count = 0
    triton.details = {}
    store = langchain.TridentVectorStore(url)
    done.close(store, store.embeddings)
    assert store.max_marginal_relevance_search("sofa") == []
    assert done(store.amax_marginal_relevance_search("sofa")) == []
    assert store.embeddings.embed_documents([]) == done(store.embeddings.aembed_documents([])) == []


def test_relevance_keeps_the_order_of_cosines() -> None:
    cosines = [-1.0000001, -1.0, -0.3, 0.0, 0.2, 1.0, 1.0000001]
    found = [relevance(cosine) for cosine in cosines]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0.0, 1.0)


def test_embeddings_are_those_of_their_side(done: Loop, url: str) -> None:
    chain, index = langchain.TridentEmbeddings(url), llama_index.TridentEmbedding(url=url)
    hay = haystack.TridentTextEmbedder(url)
    done.close(chain, hay)
    done.clients.append(index._clients)
    assert hay.run("sofa")["embedding"] == chain.embed_query("sofa") == index.get_query_embedding("sofa") == [4.0, 1.0]
    assert done(hay.run_async("sofa"))["embedding"] == done(chain.aembed_query("sofa")) == [4.0, 1.0]
    assert done(index.aget_query_embedding("sofa")) == [4.0, 1.0]
    wanted = [[1.0, 1.0], [2.0, 1.0]]
    assert index.get_text_embedding_batch(["a", "bc"]) == chain.embed_documents(["a", "bc"]) == wanted
    assert done(index.aget_text_embedding_batch(["a", "bc"])) == done(chain.aembed_documents(["a", "bc"])) == wanted
    assert index.get_text_embedding("a") == done(index.aget_text_embedding("a")) == [1.0, 1.0]


def test_a_llama_embedding_is_written_down_without_its_token(done: Loop, url: str) -> None:
    embedding = llama_index.TridentEmbedding(url=url, behaviour=Behaviour(token="secret"))
    written = embedding.to_dict()
    assert "secret" not in json.dumps(written) + repr(embedding)
    read = llama_index.TridentEmbedding.from_dict(written)
    done.clients.append(read._clients)
    assert read.get_query_embedding("sofa") == [4.0, 1.0]


@pytest.mark.parametrize("is_async", [False, True])
def test_llama_index_finds_nodes(done: Loop, url: str, is_async: bool) -> None:
    retriever = llama_index.TridentRetriever(url, k=3, fields=["brand"], filter={"in_stock": True})
    done.close(retriever)
    (node,) = done(retriever.aretrieve("sofa")) if is_async else retriever.retrieve("sofa")
    assert (node.node.node_id, node.text, node.metadata, node.score) == ("sofa", "sofa", {"brand": "HP"}, 0.5)


@pytest.mark.parametrize("is_async", [False, True])
def test_haystack_finds_documents_in_a_pipeline_that_was_written_and_read(
    triton: Any, done: Loop, url: str, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIDENT_TOKEN", "a-token")
    token = Secret.from_env_var("TRIDENT_TOKEN")
    pipeline = Pipeline()
    retriever = haystack.TridentRetriever(url, top_k=2, filters={"brand": "HP"}, fields=["brand"], token=token)
    pipeline.add_component("retriever", retriever)
    pipeline.add_component("embedder", haystack.TridentTextEmbedder(url, token=token))
    text = pipeline.dumps()
    assert "a-token" not in text
    read = Pipeline.loads(text, allowed_modules=["trident_client.*"])
    assert read.to_dict() == pipeline.to_dict()
    done.close(retriever, *(read.get_component(name) for name in ("retriever", "embedder")))
    asked = {"retriever": {"query": "sofa"}, "embedder": {"text": "sofa"}}
    found = done(read.run_async(asked)) if is_async else read.run(asked)
    document = HaystackDocument(id="sofa", content="sofa", meta={"brand": "HP"}, score=0.5)
    assert found == {"retriever": {"documents": [document]}, "embedder": {"embedding": [4.0, 1.0]}}
    assert all(seen["headers"]["authorization"] == "Bearer a-token" for seen in triton.seen)


SAME = [  # in Haystack's words, LlamaIndex's, and ours
    (
        {"field": "meta.brand", "operator": "==", "value": "HP"},
        MetadataFilter(key="brand", value="HP"),
        {"brand": "HP"},
    ),
    (
        {"field": "brand", "operator": "!=", "value": "HP"},
        MetadataFilter(key="brand", value="HP", operator=FilterOperator.NE),
        {"brand": {"not": "HP"}},
    ),
    (
        {"field": "meta.price", "operator": ">=", "value": 3},
        MetadataFilter(key="price", value=3, operator=FilterOperator.GTE),
        {"price": {"gte": 3}},
    ),
    (
        {"field": "meta.brand", "operator": "not in", "value": ["HP", "Dell"]},
        MetadataFilter(key="brand", value=["HP", "Dell"], operator=FilterOperator.NIN),
        {"brand": {"not": ["HP", "Dell"]}},
    ),
    (
        {"field": "meta.tags", "operator": "in", "value": ["a", "b"]},
        MetadataFilter(key="tags", value=["a", "b"], operator=FilterOperator.ANY),
        {"tags": ["a", "b"]},
    ),
    (
        {"field": "meta.brand", "operator": "==", "value": None},
        MetadataFilter(key="brand", value=None, operator=FilterOperator.IS_EMPTY),
        {"brand": {"missing": True}},
    ),
    (
        {"tags": {"all": ["a", "b"]}},
        MetadataFilter(key="tags", value=["a", "b"], operator=FilterOperator.ALL),
        {"tags": {"all": ["a", "b"]}},
    ),
]


@pytest.mark.parametrize(("of_haystack", "of_llama", "ours"), SAME)
def test_filters_say_the_same(of_haystack: dict[str, Any], of_llama: MetadataFilter, ours: dict[str, Any]) -> None:
    assert haystack.filter_of(of_haystack) == ours
    assert llama_index.filter_of(MetadataFilters(filters=[of_llama])) == {"all": [ours]}


SCHEMA = Schema(
    fields=(Field(name="brand", type="keyword"), Field(name="price", type="number"), Field(name="tags", type="list"))
)


def test_what_filters_say_is_read_by_the_server() -> None:
    one, other = {"field": "meta.brand", "operator": "==", "value": "HP"}, {"price": {"lt": 5}}
    nested = {"operator": "NOT", "conditions": [{"operator": "OR", "conditions": [one, other]}, one]}
    ours = haystack.filter_of(nested)
    assert ours == {"not": {"all": [{"any": [{"brand": "HP"}, other]}, {"brand": "HP"}]}}
    both = [MetadataFilter(key="brand", value="HP"), MetadataFilter(key="price", value=5, operator=FilterOperator.LT)]
    parse_filter(ours, SCHEMA)
    theirs = llama_index.filter_of(MetadataFilters(filters=both, condition=FilterCondition.NOT))
    assert theirs == {"not": {"all": [{"any": [{"brand": "HP"}, other]}]}}
    for each in (theirs, *(row[2] for row in SAME)):
        parse_filter(each, SCHEMA)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: haystack.filter_of({"field": "a", "operator": "like", "value": 1}),
            r"^the operator of a filter must be ==, !=, >, >=, <, <=, in, not in, got 'like' \(field 'a'\)$",
        ),
        (
            lambda: haystack.filter_of({"field": "a", "operator": "in", "value": "x"}),
            r"^'in' needs a list of values, got 'x' \(field 'a'\)$",
        ),
        (
            lambda: haystack.filter_of({"field": "a", "operator": ">", "value": None}),
            r"^'>' needs a value, got None \(field 'a'\)$",
        ),
        (
            lambda: haystack.filter_of({"operator": "AND", "conditions": []}),
            r"^'AND' in a filter needs at least one condition, got none$",
        ),
        (
            lambda: haystack.filter_of({"operator": "XOR", "conditions": [{"a": 1}]}),
            r"^conditions of a filter must be joined by and, or, not, got 'XOR'$",
        ),
        (
            lambda: haystack.filter_of({"operator": "==", "field": "a"}),
            r"^a condition must have field, operator and value, got field, operator$",
        ),
        (
            lambda: llama_index.filter_of(
                MetadataFilters(filters=[MetadataFilter(key="a", value="x", operator=FilterOperator.TEXT_MATCH)])
            ),
            r"^the server compares whole values, got text_match \(field 'a'\)",
        ),
    ],
)
def test_what_filters_cannot_say(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        make()


def test_connections_are_closed(triton: Any, url: str) -> None:
    async def close() -> None:
        store = langchain.TridentVectorStore(url)
        await store.asimilarity_search("sofa")
        store.clients.close()
        await store.clients.aclose()
        with pytest.raises(InvalidRequestError, match="closed"):
            await store.asimilarity_search("sofa")

    asyncio.run(close())
