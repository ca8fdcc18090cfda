"""What a generation counts while it serves, on Triton's own metrics port.

A served model adds to plain numbers; a thread hands them to Triton once a second, because each call of Triton's metrics
costs 20 to 350 microseconds (measured on tritonserver 2.51, docs/log/operations.md).

Every metric carries the labels ``generation``, ``serial`` and ``worker``, the number of the model's process. The last
one is needed: where two processes hold a metric of the same labels, as while a model is loaded again, the first that
ends frees it for both, and the server crashes (seen on 2.51). Sum over it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trident.errors import ServerError
from trident.generation.generation import Identity
from trident.generation.state import ProcessRecord, ServingFolder
from trident.retrieval.products import WAYS
from trident.search.adapters import REASONS

FLUSH_S = 1.0
STOP_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """The name of a metric, what it is, and whether it only grows.

    Where it has a label of its own, there is a metric of each of its values.
    """

    name: str
    help: str
    is_counter: bool = True
    label: str = ""
    values: tuple[str, ...] = ("",)


SERVING = MetricInfo(
    name="trident_generation_serving", help="1 for the generation in service, 0 for others", is_counter=False
)
SEARCHES = MetricInfo(name="trident_searches_total", help="Queries searched; those of the response cache are not")
EMPTY = MetricInfo(name="trident_empty_results_total", help="Queries for which no product was found")
WEAK = MetricInfo(
    name="trident_weak_total", help="Queries whose answer is weak: hardly one of these holds what was meant"
)
REJECTED = MetricInfo(name="trident_rejected_total", help="Queries rejected because more came than were answered")
PROCESSES_DIED = MetricInfo(
    name="trident_model_process_deaths",
    help="Processes of the server's models that died since trident serve began",
    is_counter=False,
)
PROCESSES_DOWN = MetricInfo(
    name="trident_model_processes_down", help="Models of the server that lack a process", is_counter=False
)
FAILED = MetricInfo(
    name="trident_failed_total",
    help="Requests of search and embed that were not answered, by cause",
    label="reason",
    values=REASONS,
)
BOUNDS = tuple(round(0.05 * step, 2) for step in range(21))  # upper, of top scores: 0 to 1, then everything
SCORE_BUCKET = MetricInfo(
    name="trident_top_score_bucket_total",
    help="Queries whose best product scores at most le",
    label="le",
    values=(*(f"{bound:g}" for bound in BOUNDS), "+Inf"),
)
SCORE_SUM = MetricInfo(
    name="trident_top_score_sum_total", help="Sum of the best product's cosine, where it is positive"
)
WAY = MetricInfo(
    name="trident_search_way_total",
    help="Searches by the way that answered: all, gathered (what passes the filter), graph, browse, lexical",
    label="way",
    values=WAYS,
)
RERANKED = MetricInfo(name="trident_reranked_total", help="Searches whose candidates the second stage put in order")
RERANK_CUT = MetricInfo(name="trident_rerank_cut_total", help="Of these, the searches whose budget ended before that")
RERANK_PAIRS = MetricInfo(name="trident_rerank_pairs_total", help="Pairs that the second stage scored")
RERANK_SECONDS = MetricInfo(name="trident_rerank_seconds_total", help="Seconds that it took for them")
CANARY_RECALL = MetricInfo(
    name="trident_canary_recall",
    help="Recall at 10 of the last queries that were searched exactly too",
    is_counter=False,
)
CANARY_QUERIES = MetricInfo(name="trident_canary_queries_total", help="Queries searched exactly too")
CANARY_WANTED = MetricInfo(name="trident_canary_wanted_total", help="Products that exact search found for them")
CANARY_FOUND = MetricInfo(name="trident_canary_found_total", help="Of these, the products that the index found")
CANARY_DROPPED = MetricInfo(
    name="trident_canary_dropped_total", help="Queries that were drawn, but not checked in time"
)
LOG_LINES = MetricInfo(name="trident_query_log_lines_total", help="Queries written to the query log")
LOG_DROPPED = MetricInfo(name="trident_query_log_dropped_total", help="Queries that could not be written to it")

RETRIEVER_METRICS = (SEARCHES, EMPTY, WEAK, SCORE_BUCKET, SCORE_SUM, WAY)
PIPELINE_METRICS = (REJECTED,)  # of the model that keeps its own queue
RERANK_METRICS = (RERANKED, RERANK_CUT, RERANK_PAIRS, RERANK_SECONDS)  # of a generation with a second stage
CANARY_METRICS = (CANARY_QUERIES, CANARY_WANTED, CANARY_FOUND, CANARY_DROPPED)
QUERY_LOG_METRICS = (LOG_LINES, LOG_DROPPED)


class ServingMetrics:
    """The metrics of one served model; ``close`` it before the model goes.

    Args:
        families: Triton's ``pb_utils.MetricFamily``.
        identity: The generation that the model belongs to.
        counters: What it will count; a counter is shown as 0 until it does.
        state: The server's folder, which names the generation in service; None: this model does not say.
        collect: Called before anything is handed over; it may count.
    """

    def __init__(
        self,
        families: Any,
        identity: Identity,
        counters: Sequence[MetricInfo],
        *,
        state: ServingFolder | None = None,
        collect: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the metrics and start the thread."""
        self._kinds = families
        self._labels = {"generation": identity.id, "serial": str(identity.serial), "worker": str(os.getpid())}
        self._id = identity.id
        self._state = state
        self._collect = collect
        self._lock = threading.Lock()
        self._pending: dict[tuple[MetricInfo, str], float] = {}
        self._gauges: dict[MetricInfo, float] = {}
        self._families: dict[MetricInfo, Any] = {}
        self._metrics: dict[tuple[MetricInfo, str], Any] = {}
        for info in counters:
            for value in info.values:
                self._metric(info, value)
        self.flush()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._flush_on, name="metrics", daemon=True)
        self._thread.start()

    def add(self, amounts: Mapping[MetricInfo, float], *, label: str = "") -> None:
        """Count; amounts are >= 0, and of one value of the metrics' own label where they have one."""
        with self._lock:
            for info, amount in amounts.items():
                self._pending[info, label] = self._pending.get((info, label), 0.0) + amount

    def add_buckets(self, amounts: Sequence[int]) -> None:
        """Count top scores: (21 + 1,) amounts, each of the scores up to its bound, in ``SCORE_BUCKET``'s order."""
        with self._lock:
            # The widest first: a scrape in the middle of a flush never sees a narrow one that holds more.
            for bound, amount in reversed([*zip(SCORE_BUCKET.values, amounts, strict=True)]):
                key = (SCORE_BUCKET, bound)
                self._pending[key] = self._pending.get(key, 0.0) + amount

    def show(self, info: MetricInfo, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges[info] = value

    def flush(self) -> None:
        """Hand everything to Triton."""
        self._collect()
        with self._lock:
            pending, self._pending = self._pending, {}
            gauges, self._gauges = self._gauges, {}
        if self._state is not None:
            gauges[SERVING] = float(serving_generation(self._state) in (self._id, None))
            record = process_record(self._state)
            gauges |= {PROCESSES_DIED: float(record.died), PROCESSES_DOWN: float(record.down)}
        for (info, label), amount in pending.items():
            if amount:
                self._metric(info, label).increment(amount)
        for info, value in gauges.items():
            self._metric(info, "").set(value)

    def close(self) -> None:
        """Hand over what is left, and take the metrics off the port: they belong to this process alone."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            self.flush()
        self._metrics.clear()  # before their families
        self._families.clear()

    def _metric(self, info: MetricInfo, label: str) -> Any:
        if info not in self._families:
            kind = self._kinds.COUNTER if info.is_counter else self._kinds.GAUGE
            self._families[info] = self._kinds(name=info.name, description=info.help, kind=kind)
        if (info, label) not in self._metrics:
            labels = self._labels | ({info.label: label} if info.label else {})
            self._metrics[info, label] = self._families[info].Metric(labels=labels)
        return self._metrics[info, label]

    def _flush_on(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            self.flush()


def serving_generation(folder: ServingFolder) -> str | None:
    """Return the id in service by a server's state; None where there is none, and so no other generation."""
    try:
        state = folder.state()
    except ServerError:  # damaged: counting goes on
        return None
    return None if state is None else state.serving


def process_record(folder: ServingFolder) -> ProcessRecord:
    """Return what became of the models' processes; nothing where that cannot be read."""
    try:
        return folder.processes()
    except ServerError:  # damaged: counting goes on
        return ProcessRecord()
