"""The engine's stand-in: Qdrant's own local mode behind the HTTP that Trident uses, in a process of its own.

    python store_stand_in.py FOLDER PORT

The requests are read by the classes that Qdrant generates from its API, which refuse what is unknown; the answers are
those of its local mode: exact, slow, on disk when a call is answered. What it cannot show stands in docs/scale.md.
"""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models

VERSION = "1.16.0"


def plain(value: Any) -> Any:
    """Return an answer as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return [plain(each) for each in value] if isinstance(value, list) else value


def application(folder: Path) -> FastAPI:
    """Return the server over a folder."""
    warnings.filterwarnings("ignore")  # that indexes and search parameters change nothing here
    client = QdrantClient(path=str(folder), force_disable_check_same_thread=True)
    lock = threading.Lock()  # the local mode is for one thread
    app = FastAPI()

    def answer(call: Any) -> JSONResponse:
        try:
            with lock:
                result = call()
        except ValidationError as error:
            return JSONResponse({"status": {"error": str(error)}}, 400)
        except ValueError as error:
            status = 404 if "not found" in str(error) else 400
            return JSONResponse({"status": {"error": str(error)}}, status)
        return JSONResponse({"result": plain(result), "status": "ok", "time": 0.0})

    @app.get("/")
    def info() -> dict[str, str]:
        return {"title": "qdrant - stand-in", "version": VERSION}

    @app.get("/collections")
    def collections() -> JSONResponse:
        return answer(client.get_collections)

    @app.get("/collections/{name}")
    def collection(name: str) -> JSONResponse:
        return answer(lambda: client.get_collection(name))

    @app.put("/collections/{name}")
    async def create(name: str, request: Request) -> JSONResponse:
        body = await request.body()

        def call() -> bool:
            wanted = models.CreateCollection.model_validate_json(body)
            if client.collection_exists(name):
                raise ValueError(f"collection {name} already exists")
            return client.create_collection(name, vectors_config=wanted.vectors)

        return answer(call)

    @app.delete("/collections/{name}")
    def drop(name: str) -> JSONResponse:
        return answer(lambda: client.delete_collection(name))

    @app.put("/collections/{name}/index")
    async def index(name: str, request: Request) -> JSONResponse:
        body = await request.body()
        return answer(lambda: bool(models.CreateFieldIndex.model_validate_json(body)) and {"status": "completed"})

    @app.put("/collections/{name}/points")
    async def upsert(name: str, request: Request) -> JSONResponse:
        body = await request.body()

        def call() -> Any:
            wanted = models.PointsList.model_validate_json(body)
            client.upsert(name, points=wanted.points, update_filter=wanted.update_filter)
            return {"operation_id": 0, "status": "completed"}

        return answer(call)

    @app.post("/collections/{name}/points")
    async def retrieve(name: str, request: Request) -> JSONResponse:
        wanted = models.PointRequest.model_validate_json(await request.body())
        return answer(
            lambda: client.retrieve(
                name, ids=wanted.ids, with_payload=wanted.with_payload, with_vectors=wanted.with_vector
            )
        )

    @app.post("/collections/{name}/points/scroll")
    async def scroll(name: str, request: Request) -> JSONResponse:
        wanted = models.ScrollRequest.model_validate_json(await request.body())

        def call() -> Any:
            points, following = client.scroll(
                name,
                scroll_filter=wanted.filter,
                limit=wanted.limit or 10,
                order_by=wanted.order_by,
                with_payload=wanted.with_payload if wanted.with_payload is not None else True,
                with_vectors=wanted.with_vector or False,
            )
            return models.ScrollResult(points=points, next_page_offset=following)

        return answer(call)

    @app.post("/collections/{name}/points/count")
    async def count(name: str, request: Request) -> JSONResponse:
        wanted = models.CountRequest.model_validate_json(await request.body())
        return answer(lambda: client.count(name, count_filter=wanted.filter, exact=bool(wanted.exact)))

    @app.post("/collections/{name}/facet")
    async def facet(name: str, request: Request) -> JSONResponse:
        wanted = models.FacetRequest.model_validate_json(await request.body())
        return answer(
            lambda: client.facet(name, key=wanted.key, facet_filter=wanted.filter, limit=wanted.limit or 10, exact=True)
        )

    @app.post("/collections/{name}/points/query/batch")
    async def query(name: str, request: Request) -> JSONResponse:
        wanted = models.QueryRequestBatch.model_validate_json(await request.body())
        return answer(
            lambda: [
                client.query_points(
                    name,
                    query=each.query,
                    query_filter=each.filter,
                    limit=each.limit or 10,
                    offset=each.offset,
                    with_payload=each.with_payload if each.with_payload is not None else False,
                    with_vectors=each.with_vector or False,
                )
                for each in wanted.searches
            ]
        )

    @app.post("/collections/aliases")
    async def aliases(request: Request) -> JSONResponse:
        body = TypeAdapter(models.ChangeAliasesOperation).validate_json(await request.body())
        return answer(lambda: client.update_collection_aliases(body.actions))

    return app


if __name__ == "__main__":
    uvicorn.run(application(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
