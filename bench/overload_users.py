"""Users for Locust that search once a second and tell how long that took; `bench/overload.py` runs it.

Answers are told apart: ``accepted``, ``cut`` (a budget ended the second stage before its last candidate), ``rejected``
(503, the server protects itself), anything else is a failure.
"""

import itertools
import json
import os
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant_throughput, task

LINES = Path(os.environ["OVERLOAD_BODIES"]).read_text(encoding="utf-8").splitlines()
BODIES = itertools.cycle([json.loads(line) for line in LINES])
REJECTED = 503


def answered(body: dict[str, Any], answer: dict[str, Any]) -> str:
    """Return the name of an answer."""
    texts = {each["name"]: each["data"][0] for each in (*body["inputs"], *answer["outputs"])}
    wanted = json.loads(texts.get("options", "{}")).get("rerank", 0)
    return "cut" if json.loads(texts["details"]).get("reranked", wanted) < wanted else "accepted"


class Shopper(FastHttpUser):
    """Asks one query after the other."""

    wait_time = constant_throughput(1)

    @task
    def search(self) -> None:
        """Ask the next query."""
        body = next(BODIES)
        with self.client.post("/v2/models/search/infer", json=body, catch_response=True) as response:
            if response.status_code in (200, REJECTED):
                rejected = response.status_code == REJECTED
                response.request_meta["name"] = "rejected" if rejected else answered(body, response.json())
                response.success()
            else:
                response.request_meta["name"] = f"failed with {response.status_code}"
                response.failure(str(response.text)[:200])
