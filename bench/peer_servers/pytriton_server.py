"""sentence-transformers and an index bound to Triton by pytriton, with its dynamic batching.

python bench/peer_servers/pytriton_server.py GENERATION_FOLDER MODEL_FOLDER HTTP_PORT GRPC_PORT METRICS_PORT
"""

import sys
from pathlib import Path

import numpy as np
from index import Index, K
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig
from sentence_transformers import SentenceTransformer

index = Index(Path(sys.argv[1]))
model = SentenceTransformer(sys.argv[2], device="cpu")


@batch
def search(query: np.ndarray) -> dict[str, np.ndarray]:
    """Return the products of queries (B, 1)."""
    texts = [text.decode("utf-8") for text in query[:, 0]]
    found = index.find(model.encode(texts, batch_size=64, normalize_embeddings=True))
    return {"product_id": found.product_ids, "score": found.scores, "title": found.titles}


if __name__ == "__main__":
    http_port, grpc_port, metrics_port = map(int, sys.argv[3:])
    ports = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port}
    config = TritonConfig(http_address="127.0.0.1", grpc_address="127.0.0.1", metrics_address="127.0.0.1", **ports)
    unrestricted = TritonSecurityConfig(restricted_endpoints=[])  # perf_analyzer reads the statistics
    with Triton(config=config, security_config=unrestricted) as triton:
        triton.bind(
            model_name="search",
            infer_func=search,
            inputs=[Tensor(name="query", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="product_id", dtype=bytes, shape=(K,)),
                Tensor(name="score", dtype=np.float32, shape=(K,)),
                Tensor(name="title", dtype=bytes, shape=(K,)),
            ],
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
        )
        triton.serve()
