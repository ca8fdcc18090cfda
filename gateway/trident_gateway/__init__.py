"""The gateway: JSON over HTTP for who wants no tensors, and embeddings as the openai SDK asks for them.

    trident gateway --url grpc://127.0.0.1:8001 --port 8080

It is one process beside the server, with the asyncio client inside.
"""

from trident_gateway.app import create_app
from trident_gateway.config import GatewayConfig

__all__ = ["GatewayConfig", "create_app"]
