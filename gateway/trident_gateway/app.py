"""The gateway's addresses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from trident_client import AsyncSearchClient, ClientError
from trident_gateway.catalogue import add_catalogue
from trident_gateway.config import GatewayConfig
from trident_gateway.embeddings import answer_of, texts_of
from trident_gateway.errors import RETRY_AFTER, of_client, refusal
from trident_gateway.forms import (
    PRODUCT_MODEL,
    QUERY_MODEL,
    Embeddings,
    EmbeddingsForm,
    Found,
    Refused,
    SearchForm,
    Suggested,
)
from trident_gateway.gates import KeyGate, SizeGate
from trident_gateway.pages import add_page
from trident_gateway.searching import timed_search

SHOWN = 3  # of what is wrong with a request
A_JSON = "application/json"
JSON = re.compile(r"application/([\w.-]+\+)?json", re.IGNORECASE)
REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Refused, "description": "What is wrong with the request, in a sentence"},
    "5XX": {"model": Refused, "description": "What is wrong with the server, in a sentence"},
}


def create_app(config: GatewayConfig) -> FastAPI:
    """Return the gateway as an ASGI application; its client is made when it starts.

    Raises:
        InvalidRequestError: If the server's address breaks a rule.
    """
    client = _client(config, config.url)
    other = None if config.other_url is None else _client(config, config.other_url)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for each in (client, other):
            if each is not None:
                await each.close()

    # Its pages would be put together from another host's scripts.
    app = FastAPI(title="Trident", version="1", lifespan=lifespan, docs_url=None, redoc_url=None, responses=REFUSALS)
    _add_errors(app)
    _add_searches(app, client)
    _add_embeddings(app, client, config)
    add_catalogue(app, client)
    if config.page:
        add_page(app, client, other)
    app.add_middleware(SizeGate, max_body_bytes=config.max_body_bytes)
    if config.api_key is not None:
        app.add_middleware(KeyGate, api_key=config.api_key)
    if config.origins:  # outermost: a browser asks without a key whether it may ask
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "Server-Timing"],
        )
    return app


def _client(config: GatewayConfig, url: str) -> AsyncSearchClient:
    """Return a client, which opens nothing until it is asked."""
    return AsyncSearchClient(url, timeout_s=config.timeout_s, tls=config.tls, behaviour=config.behaviour)


def _add_searches(app: FastAPI, client: AsyncSearchClient) -> None:
    @app.post("/search", response_model=Found)
    async def search(form: SearchForm) -> Response:
        """Find products for a query."""
        return await timed_search(client, form)

    @app.get("/suggest", response_model=Suggested)
    async def suggest(
        prefix: Annotated[str, Query(max_length=1000)], k: Annotated[int, Query(ge=1, le=100)] = 10
    ) -> dict[str, Any]:
        """Say what somebody may be about to type."""
        return dataclasses.asdict(await client.suggest(prefix, k=k))

    @app.get("/healthz", responses={503: {"description": "It does not"}})
    async def healthz(response: Response) -> dict[str, Literal["ready", "not ready"]]:
        """Say whether the server answers searches."""
        if await client.is_ready():
            return {"status": "ready"}
        response.status_code = 503
        response.headers.update(RETRY_AFTER)
        return {"status": "not ready"}


def _add_embeddings(app: FastAPI, client: AsyncSearchClient, config: GatewayConfig) -> None:
    @app.post("/v1/embeddings", response_model=Embeddings)
    async def embeddings(form: EmbeddingsForm) -> Embeddings:
        """Embed texts as queries or as product titles, in the form of the openai SDK."""
        texts = texts_of(form, config.max_texts)
        vectors = await client.embed(texts, side="product" if form.model == PRODUCT_MODEL else "query")
        return answer_of(form, texts, vectors)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the two models: one for queries, one for product titles."""
        named = [{"id": name, "object": "model", "owned_by": "trident"} for name in (QUERY_MODEL, PRODUCT_MODEL)]
        return {"object": "list", "data": named}


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ClientError)
    async def failed(_: Request, error: ClientError) -> Response:
        return of_client(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("content-type", "")
        if request.method == "POST" and not JSON.match(kind):  # what curl -d sends unless told
            return refusal(400, f"a request must be JSON, got {kind[:60]!r}: send the header content-type: {A_JSON}")
        return refusal(400, _sentence(error.errors()))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        return refusal(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return refusal(500, f"the gateway failed ({type(error).__name__}): its log says where", "server_error")


def _sentence(errors: Sequence[Any]) -> str:
    """Return what is wrong with a request's body in one line; never what was sent, which may be long or private."""
    said = [f"{'.'.join(map(str, each['loc'][1:])) or 'the body'}: {each['msg']}" for each in errors[:SHOWN]]
    return " ".join("; ".join(said).splitlines())[:300]  # a key may have line breaks
