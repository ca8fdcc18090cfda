"""langchain-tests' standard suites over a running server, for ``test_frameworks.py``, which starts one and this.

TRIDENT_URL and TRIDENT_WRITE_KEY name a live catalogue that is empty and whose schema has ``id`` and
``some_other_field``, the metadata of the suites.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, VectorStoreIntegrationTests

from trident_client.frameworks.langchain import TridentEmbeddings, TridentVectorStore

URL = os.environ["TRIDENT_URL"]


class TestTridentEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[TridentEmbeddings]:
        return TridentEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"url": URL, "timeout_s": 60}


class TestTridentVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[TridentVectorStore]:
        store = TridentVectorStore(URL, fields=["id", "some_other_field"], timeout_s=60)
        yield store
        found = store.similarity_search("anything", k=1000)
        store.delete([document.id for document in found if document.id])
        store.clients.close()

    @property
    def has_get_by_ids(self) -> bool:
        return False  # the server finds by query, or by what attributes say
