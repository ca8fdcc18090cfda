"""What the writer of a live catalogue counts, on Triton's own metrics port."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from trident.errors import TridentError
from trident.generation.generation import Identity
from trident.live.compactions import Compactions
from trident.live.operations import Action
from trident.search.catalogue_service import CatalogueService
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
GONE_SHARE = MetricInfo(
    name="trident_catalogue_gone_share",
    help="Share of the generation's products that a process knows to be deleted or replaced",
    is_counter=False,
)
LOG_BYTES = MetricInfo(name="trident_catalogue_log_bytes", help="Size of the log", is_counter=False)
SINCE_COMPACTION = MetricInfo(
    name="trident_catalogue_since_compaction_seconds",
    help="Seconds since the generation that serves was made, with an empty tail",
    is_counter=False,
)
COMPACTION_FAILURES = MetricInfo(
    name="trident_catalogue_compaction_failures",
    help="Compactions that began by themselves and failed, in a row",
    is_counter=False,
)
FOLLOWS = MetricInfo(
    name="trident_catalogue_follows", help="1 where the server follows another one, which writes", is_counter=False
)
ANSWERED = MetricInfo(
    name="trident_catalogue_answered_total",
    help="Operations whose request was answered, by what they do",
    label="action",
    values=get_args(Action),
)
SECONDS = MetricInfo(
    name="trident_catalogue_answered_seconds_total",
    help="Seconds that they waited for it, embedding and sync included",
    label="action",
    values=get_args(Action),
)
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
        service: With a writer, or one that follows.
        families: Triton's ``pb_utils.MetricFamily``.
    """

    def __init__(self, service: CatalogueService, families: Any) -> None:
        """Start counting."""
        self._service = service
        self._told: dict[MetricInfo, Counter[str]] = {}
        self._metrics: ServingMetrics | None = None
        self._metrics = ServingMetrics(families, WRITER, (OPERATIONS, ANSWERED, SECONDS), collect=self._collect)

    def close(self) -> None:
        """Take the metrics off the port."""
        if self._metrics is not None:
            self._metrics.close()

    def _collect(self) -> None:
        if self._metrics is None:  # it is just being made
            return
        writer = self._service.writer
        self._metrics.show(FOLLOWS, float(writer is None))
        try:
            stats = self._service.stats()
        except (TridentError, OSError):  # a state that cannot be read: counting goes on
            stats = {}
        for info, name in ((NUMBER, "number"), (TAIL, "tail"), (TAIL_LIMIT, "tail_limit"), (LOG_BYTES, "log_bytes")):
            if name in stats:
                self._metrics.show(info, float(str(stats[name])))
        if writer is None:
            return
        for info, counter in ((OPERATIONS, writer.counts), (ANSWERED, writer.answered), (SECONDS, writer.seconds)):
            self._tell(info, counter)
        self._metrics.show(COMPACTION_FAILURES, float(Compactions.read(writer.folder).failures))
        if not stats:
            return
        made_at = datetime.fromisoformat(str(stats["made_at"]))
        self._metrics.show(SINCE_COMPACTION, (datetime.now(UTC) - made_at.astimezone(UTC)).total_seconds())
        self._metrics.show(STOPPED, float(stats["stopped"] is not None))

    def _tell(self, info: MetricInfo, counter: Mapping[Any, float]) -> None:
        """Hand over what a counter grew by since the last time."""
        now: Counter[str] = Counter(dict(counter))
        assert self._metrics is not None
        for label, amount in (now - self._told.get(info, Counter())).items():
            self._metrics.add({info: amount}, label=label)
        self._told[info] = now
