"""A search server as people write it: sentence-transformers and an index behind one FastAPI route.

python bench/peer_servers/fastapi_server.py GENERATION_FOLDER MODEL_FOLDER PORT
"""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from index import Index
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

index = Index(Path(sys.argv[1]))
model = SentenceTransformer(sys.argv[2], device="cpu")
app = FastAPI()


class Query(BaseModel):
    """What is asked."""

    query: str


@app.post("/search")
def search(body: Query) -> dict[str, object]:
    """Return the products of a query."""
    return {"hits": index.hits(model.encode(body.query, normalize_embeddings=True))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="error", access_log=False)
