"""Which of the judged queries a server takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.errors import DataError, ExportError
from trident.retrieval.requests import check_size


def served_queries(queries: Sequence[str], path: Path) -> list[str]:
    """Return the queries that a server takes, each once: what is exported with the others could not be served.

    Args:
        queries: Of the held-out pairs.
        path: Where they are from, for errors.

    Raises:
        ExportError: If there is none; the message says what is wrong with the first.
    """
    distinct = dict.fromkeys(queries)
    faults = {query: fault for query in distinct if (fault := _fault(query)) is not None}
    if len(faults) == len(distinct):
        raise ExportError(
            f"held-out queries must be ones that a server takes, to be golden, got none of {len(distinct)}: "
            f"{next(iter(faults.values()), 'there are none')} ({path}): train with shorter test queries"
        )
    return [query for query in distinct if query not in faults]


def is_taken(query: str) -> bool:
    """Return whether a server takes a query."""
    return bool(query.strip()) and _fault(query) is None


def _fault(query: str) -> str | None:
    try:
        check_size(query)
    except DataError as error:
        return str(error)
    return None
