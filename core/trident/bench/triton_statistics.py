"""What Triton counted for each model: time in queue, input, inference and output, and how large batches were."""

from __future__ import annotations

import http
import json
from dataclasses import dataclass
from typing import Any

from trident.errors import BenchError
from trident.probe.control import exchange

NANOSECONDS = 1e-6  # in milliseconds
TIMEOUT_S = 10.0
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")

Counters = dict[str, dict[str, int]]  # model -> counter -> value, all versions together


@dataclass(frozen=True, kw_only=True)
class StageStatistics:
    """What one model did between two readings; times are milliseconds a request."""

    model: str
    inferences: int  # rows; of the response cache too
    executions: int  # batches
    failures: int  # requests
    cache_hits: int  # requests
    queue_ms: float
    compute_input_ms: float
    compute_infer_ms: float
    compute_output_ms: float

    @property
    def mean_batch(self) -> float:
        """Rows a batch; 0 without any."""
        return self.inferences / self.executions if self.executions else 0.0


def read_counters(http_url: str) -> Counters:
    """Return the counters of every model of the server at ``HOST:PORT``; no proxy stands between.

    Raises:
        ServerError: If it does not answer.
        BenchError: If it answers something else.
    """
    status, content = exchange(http_url, "GET", "/v2/models/stats", {}, timeout_s=TIMEOUT_S)
    if status != http.HTTPStatus.OK:
        raise BenchError(f"{http_url} must answer with statistics of its models, got status {status}")
    counters: Counters = {}
    for row in json.loads(content)["model_stats"]:
        total = counters.setdefault(row["name"], {})
        for name, value in _flat(row).items():
            total[name] = total.get(name, 0) + value
    return counters


def stages_between(before: Counters, after: Counters) -> tuple[StageStatistics, ...]:
    """Return what each model did between two readings, the busiest first; models without requests are left out."""
    stages = []
    for model, counters in after.items():
        grown = {name: value - before.get(model, {}).get(name, 0) for name, value in counters.items()}
        if grown["inferences"] <= 0:
            continue
        requests = max(1, grown["requests"])
        times = {f"{part}_ms": grown.pop(part) * NANOSECONDS / requests for part in PARTS}
        stages.append(
            StageStatistics(
                model=model,
                inferences=grown["inferences"],
                executions=grown["executions"],
                failures=grown["failures"],
                cache_hits=grown["cache_hits"],
                **times,
            )
        )
    return tuple(sorted(stages, key=lambda stage: (-stage.compute_infer_ms, stage.model)))


def _flat(row: dict[str, Any]) -> dict[str, int]:
    statistics = row["inference_stats"]
    times = {part: int(statistics[part]["ns"]) for part in PARTS}
    return times | {
        "inferences": int(row["inference_count"]),
        "executions": int(row["execution_count"]),
        "requests": int(statistics["success"]["count"]),
        "failures": int(statistics["fail"]["count"]),
        "cache_hits": int(statistics["cache_hit"]["count"]),
    }
