"""The generations of a folder: what each scored, and what a server does with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident.errors import GenerationError, ServerError
from trident.generation.generation import MANIFEST_FILE, Generation
from trident.generation.state import ServingFolder
from trident.probe.running import find_running
from trident.server.models import loaded_components


@dataclass(frozen=True, kw_only=True)
class GenerationRow:
    """One generation on disk."""

    id: str
    serial: int | None = None  # None: the manifest is damaged
    created_at: str = ""
    products: int | None = None
    size_bytes: int = 0
    roc_auc: float | None = None  # on the run's held-out pairs
    ndcg_at_10: float | None = None
    gate: str = ""  # of the last time: passed, forced, or nothing where it was not asked
    loaded: bool = False
    serving: bool = False
    previous: bool = False
    damage: str = ""  # what is wrong with the manifest


def inventory(generations: Path, http_port: int) -> list[GenerationRow]:
    """Return a row for each generation of a folder, lowest serial number first, damaged ones at the end.

    Args:
        generations: The folder of generations.
        http_port: Of the server whose loaded, serving and previous ones are marked.

    Raises:
        ServerError: If the port's state is damaged.
    """
    state = ServingFolder.of(generations, http_port).state()
    serving, previous = (None, None) if state is None else (state.serving, state.previous)
    loaded = _loaded(generations, http_port)
    rows = []
    for path in generations.glob(f"[0-9a-f]*/{MANIFEST_FILE}"):
        try:
            found = Generation.load(path.parent)
        except GenerationError as error:
            rows.append(GenerationRow(id=path.parent.name, damage=str(error)))
            continue
        judged = found.manifest.quality.get("judged", {})
        rows.append(
            GenerationRow(
                id=found.id,
                serial=found.serial,
                created_at=found.manifest.created_at,
                products=found.manifest.products,
                size_bytes=sum(record.size_bytes for record in found.manifest.files.values()),
                roc_auc=judged.get("roc_auc", {}).get("value"),
                ndcg_at_10=judged.get("ndcg_at_10"),
                gate=_gate(found.manifest.gate),
                loaded=found.serial in loaded,
                serving=found.id == serving,
                previous=found.id == previous,
            )
        )
    return sorted(rows, key=lambda row: (row.serial is None, row.serial or 0, row.id))


def _loaded(generations: Path, http_port: int) -> set[int]:
    """Return the serial numbers of which every component is ready; none where no server runs or the key is missing."""
    try:
        running = find_running(generations, http_port)
        index = running.control.index()
    except ServerError:
        return set()
    components = loaded_components(running.record.variant)
    ready = [{row.version for row in index if row.model == model and row.state == "READY"} for model in components]
    return set.intersection(*ready)


def _gate(entries: list[dict[str, Any]]) -> str:
    if not entries:
        return ""
    return "forced" if entries[-1].get("forced") else "passed"
