"""What an answer says of the time that its stages took, where its query asks by the option ``timings``.

A response cache keeps an answer with its times. So the id of the request that was timed stands beside them: who asked
with another id has an answer of the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trident.retrieval.requests import SearchKnobs
from trident.stage_times import StageTimes

if TYPE_CHECKING:  # tokenizer and encoder have no use for an index
    from trident.retrieval.retriever import Hits

TIMINGS_MS, TIMINGS_OF = "timings_ms", "timings_of"  # in details: milliseconds by stage; the request's id


def is_timed(knobs: Iterable[SearchKnobs]) -> bool:
    """Return whether anybody asks."""
    return any(knob.timed_for is not None for knob in knobs)


def timed(hits: Hits, knobs: Sequence[SearchKnobs], times: StageTimes | None) -> Hits:
    """Return hits whose details say how long the stages of their batch took, in rows that ask.

    Args:
        hits: Of B queries.
        knobs: One a row.
        times: Of the batch; None: nobody asks.
    """
    if times is None:
        return hits
    told = times.milliseconds()
    hits = hits.with_detail(TIMINGS_MS, [None if knob.timed_for is None else told for knob in knobs])
    return hits.with_detail(TIMINGS_OF, [knob.timed_for for knob in knobs])
