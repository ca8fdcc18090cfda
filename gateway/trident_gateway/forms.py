"""The forms of requests and answers, which the OpenAPI page shows. Unknown fields are refused; numbers are numbers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trident_client.catalogue import BATCH

QUERY_MODEL, PRODUCT_MODEL = "trident-query", "trident-product"


class Form(BaseModel):
    """Nothing is guessed: true is no number, and no field is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid")


class SearchForm(Form):
    """A search; what each field means stands in the client's documentation."""

    query: str = Field(default="", description="Empty: like, or a filter and the like, say what is wanted instead")
    k: int = Field(default=10, ge=1, le=1000)
    ef: int | None = Field(default=None, ge=1, le=10_000)
    min_score: float | None = Field(default=None, ge=-1, le=1)
    filter: dict[str, Any] | None = None
    fields: list[str] | None = None
    facets: list[str] | dict[str, Any] | None = None
    sort: str | list[str] | None = None
    group: str | None = None
    offset: int = Field(default=0, ge=0)
    like: str | None = None
    min_probability: float | None = Field(default=None, ge=0, le=1)
    rerank: int | None = Field(default=None, ge=0, le=200)
    rerank_budget_ms: float | None = Field(default=None, gt=0)
    rules: bool = True
    mode: Literal["hybrid", "dense", "lexical"] | None = None
    explain: bool = False
    spelling: bool = True
    timings: bool = False
    options: dict[str, Any] | None = None


class FoundHit(BaseModel):
    """A product that was found."""

    product_id: str
    score: float
    title: str
    attributes: dict[str, Any] = Field(default_factory=dict)
    probability: float | None = None
    explain: dict[str, Any] = Field(default_factory=dict)


class Operation(Form):
    """One operation on a product; which of them needs what is the server's to say."""

    op: Literal["upsert", "update", "delete"]
    id: str
    title: str | None = None
    attributes: dict[str, Any] | None = None
    version: int | None = None
    untouched_after: int | None = None


class OperationsForm(Form):
    """What is to be written to a live catalogue, in this order."""

    operations: list[Operation] = Field(min_length=1, max_length=BATCH)


class WrittenAnswer(BaseModel):
    """What became of operations; the ids of those that were left alone, and why."""

    number: int
    done: int
    stale: list[str]
    touched: list[str]
    unknown: list[str]


class Attribute(BaseModel):
    """An attribute of the catalogue; ``counted`` are those whose values can be filtered and counted."""

    name: str
    counted: bool


class About(BaseModel):
    """What the page can show: attributes, those of another server to compare with (null: none), completions."""

    attributes: list[Attribute]
    other: list[Attribute] | None
    suggests: bool


class Found(BaseModel):
    """The answer to a search."""

    id: str
    query: str
    generation: str
    model_version: int
    hits: list[FoundHit]
    details: dict[str, Any]


class SuggestedText(BaseModel):
    """A suggestion, and whether it is a query of others or a phrase of the titles."""

    text: str
    source: str


class Suggested(BaseModel):
    """The answer to a prefix."""

    prefix: str
    generation: str
    model_version: int
    suggestions: list[SuggestedText]


class EmbeddingsForm(Form):
    """What the openai SDK sends to ``/v1/embeddings``."""

    input: str | list[Any]
    model: Literal["trident-query", "trident-product"]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class Embedding(BaseModel):
    """One vector: numbers, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Words, since the gateway has no tokenizer."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """The answer to ``/v1/embeddings``, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Fault(BaseModel):
    """What is wrong, in one sentence."""

    message: str
    type: str
    code: int
    param: str | None = None


class Refused(BaseModel):
    """A reply that is no answer."""

    error: Fault
