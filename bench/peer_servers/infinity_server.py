"""infinity's engine (torch, with its batching) and an index behind one FastAPI route, in one process.

python bench/peer_servers/infinity_server.py GENERATION_FOLDER MODEL_FOLDER PORT
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI
from index import Index
from infinity_emb import AsyncEmbeddingEngine, EngineArgs
from pydantic import BaseModel

index = Index(Path(sys.argv[1]))
arguments = EngineArgs(
    model_name_or_path=sys.argv[2], engine="torch", device="cpu", model_warmup=False, bettertransformer=False
)
engine = AsyncEmbeddingEngine.from_args(arguments)


@asynccontextmanager
async def with_engine(_: FastAPI) -> AsyncIterator[None]:
    """Run the engine while the server runs."""
    async with engine:
        yield


app = FastAPI(lifespan=with_engine)


class Query(BaseModel):
    """What is asked."""

    query: str


@app.post("/search")
async def search(body: Query) -> dict[str, object]:
    """Return the products of a query."""
    embeddings, _ = await engine.embed(sentences=[body.query])
    return {"hits": index.hits(np.asarray(embeddings[0]))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="error", access_log=False)
