"""Counts the requests that a served model does not answer, by cause.

Triton's own counters do not tell: what a Python model refuses is a success of that model, and twice a failure of the
ensemble around it (seen on 2.51).
"""

from __future__ import annotations

from typing import Any

from trident.errors import TridentError
from trident.generation.generation import Identity
from trident.search.adapters import reason_of, refusal
from trident.watch.serving_metrics import FAILED, ServingMetrics


class FailureWatch:
    """Makes the refusals of one served model and counts them.

    Args:
        identity: The generation that the model belongs to.
        backend: Triton's module ``triton_python_backend_utils``.
    """

    def __init__(self, identity: Identity, backend: Any) -> None:
        """Start counting; every cause is there with 0."""
        self._backend = backend
        self._metrics = ServingMetrics(backend.MetricFamily, identity, (FAILED,))

    def refusal(self, error: TridentError, *, is_live: bool = True) -> Any:
        """Return Triton's response to a request that cannot be answered, and count it where somebody waits for it."""
        if is_live:
            self._metrics.add({FAILED: 1}, label=reason_of(error))
        return refusal(error, self._backend)

    def close(self) -> None:
        """Take the metrics off the port."""
        self._metrics.close()
