"""Users for Locust that search once a second and tell how long that took; `bench/overload.py` runs it.

Answers are told apart: ``accepted``, ``rejected`` (503, the server protects itself), anything else is a failure.
"""

import itertools
import json
import os
from pathlib import Path

from locust import FastHttpUser, constant_throughput, task

QUERIES = itertools.cycle(json.loads(Path(os.environ["OVERLOAD_QUERIES"]).read_text(encoding="utf-8")))
REJECTED = 503


class Shopper(FastHttpUser):
    """Asks one query after the other."""

    wait_time = constant_throughput(1)

    @task
    def search(self) -> None:
        """Ask the next query."""
        body = {"inputs": [{"name": "query", "datatype": "BYTES", "shape": [1, 1], "data": [next(QUERIES)]}]}
        with self.client.post("/v2/models/search/infer", json=body, catch_response=True) as response:
            if response.status_code in (200, REJECTED):
                response.request_meta["name"] = "rejected" if response.status_code == REJECTED else "accepted"
                response.success()
            else:
                response.request_meta["name"] = f"failed with {response.status_code}"
                response.failure(str(response.text)[:200])
