"""The thin client of a Trident search server: numpy and tritonclient, nothing else.

from trident_client import SearchClient

with SearchClient("127.0.0.1:8001") as client:
    for hit in client.search("deep learning books").hits:
        print(hit.score, hit.title)
"""

from trident_client.async_client import AsyncSearchClient
from trident_client.behaviour import Behaviour
from trident_client.catalogue import Written
from trident_client.client import SearchClient
from trident_client.errors import (
    CatalogueFollowsError,
    CatalogueFullError,
    CatalogueStoppedError,
    ClientError,
    InvalidRequestError,
    NotAllowedError,
    RequestTimeoutError,
    ServerOverloadedError,
    ServerUnavailableError,
    UnexpectedAnswerError,
    UnknownOutcomeError,
    WriteKeyError,
)
from trident_client.results import Hit, SearchResult, ServerInfo, Suggestion, SuggestResult
from trident_client.tls import Tls

__all__ = [
    "AsyncSearchClient",
    "Behaviour",
    "CatalogueFollowsError",
    "CatalogueFullError",
    "CatalogueStoppedError",
    "ClientError",
    "Hit",
    "InvalidRequestError",
    "NotAllowedError",
    "RequestTimeoutError",
    "SearchClient",
    "SearchResult",
    "ServerInfo",
    "ServerOverloadedError",
    "ServerUnavailableError",
    "SuggestResult",
    "Suggestion",
    "Tls",
    "UnexpectedAnswerError",
    "UnknownOutcomeError",
    "WriteKeyError",
    "Written",
]
