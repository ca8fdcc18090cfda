"""Ten lines to search: ``python examples/search.py "deep learning books" 127.0.0.1:8001``."""

import sys

from trident_client import SearchClient

query, url = [*sys.argv[1:], "deep learning books", "127.0.0.1:8001"][:2]
with SearchClient(url) as client:
    for hit in client.search(query, k=5).hits:
        print(f"{hit.score:.3f}  {hit.product_id}  {hit.title}")
