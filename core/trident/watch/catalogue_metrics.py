"""What the writer of a live catalogue counts, on Triton's own metrics port."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trident.errors import TridentError
from trident.generation.generation import Identity
from trident.live.writer import Writer
from trident.watch.serving_metrics import MetricInfo, ServingMetrics

SEQUENCE = MetricInfo(
    name="trident_catalogue_sequence",
    help="Number of the live catalogue that a process answers with",
    is_counter=False,
)
NUMBER = MetricInfo(
    name="trident_catalogue_number", help="Number of the last operation on the live catalogue", is_counter=False
)
TAIL = MetricInfo(name="trident_catalogue_tail", help="Vectors beside the index that serves", is_counter=False)
TAIL_LIMIT = MetricInfo(name="trident_catalogue_tail_limit", help="How many of them there may be", is_counter=False)
STOPPED = MetricInfo(name="trident_catalogue_stopped", help="1 where a sync failed: restart", is_counter=False)
OPERATIONS = MetricInfo(
    name="trident_catalogue_operations_total",
    help="Operations on the live catalogue, by what became of them",
    label="outcome",
    values=("done", "stale", "touched", "unknown", "failed"),
)
WRITER = Identity(id="catalogue", serial=1, encoder_fingerprint="")  # it belongs to no generation


class CatalogueMetrics:
    """Hands over what a writer counts, once a second; ``close`` it before the model goes.

    Args:
        writer: In service.
        families: Triton's ``pb_utils.MetricFamily``.
    """

    def __init__(self, writer: Writer, families: Any) -> None:
        """Start counting."""
        self._writer = writer
        self._told: Counter[str] = Counter()
        self._metrics: ServingMetrics | None = None
        self._metrics = ServingMetrics(families, WRITER, (OPERATIONS,), collect=self._collect)

    def close(self) -> None:
        """Take the metrics off the port."""
        if self._metrics is not None:
            self._metrics.close()

    def _collect(self) -> None:
        if self._metrics is None:  # it is just being made
            return
        counts = Counter(self._writer.counts)
        for outcome, count in (counts - self._told).items():
            self._metrics.add({OPERATIONS: count}, label=outcome)
        self._told = counts
        try:
            stats = self._writer.stats()
        except TridentError:  # a state that cannot be read: counting goes on
            return
        for info, name in ((NUMBER, "number"), (TAIL, "tail"), (TAIL_LIMIT, "tail_limit")):
            self._metrics.show(info, float(str(stats[name])))
        self._metrics.show(STOPPED, float(stats["stopped"] is not None))
