"""The grid of ``bench/filters.py`` as a table in Markdown and as a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def table(found: dict[str, Any]) -> str:
    """Return the grid as rows of Markdown, the filters of a name together."""
    peers = list(found.get("peers", {}))
    heads = [f"{name}: recall | ms" for name in peers]
    lines = [
        "| " + " | ".join(["filter", "passes", "recall@10", "ms", "exact over what passes, ms", "way", *heads]) + " |",
        "| --- " * (6 + 2 * len(peers)) + "|",
    ]
    for name, filters in found["filters"].items():
        if not filters:
            continue
        share, recall_at_10 = (float(np.mean([each[key] for each in filters])) for key in ("share", "recall_at_10"))
        evaluate, ms, exact = (
            float(np.median([each[key] for each in filters])) for key in ("evaluate_ms", "found_ms", "exact_ms")
        )
        ways = ", ".join(sorted({way for each in filters for way in each["ways"]}))
        cells = [name, f"{share:.1%}", f"{recall_at_10:.3f}", f"{evaluate + ms:.2f}", f"{evaluate + exact:.2f}", ways]
        for peer in peers:
            own = [each["peers"][peer] for each in filters if peer in each["peers"]]
            cells.append(f"{float(np.mean([each['recall_at_10'] for each in own])):.3f}")
            cells.append(f"{float(np.median([each['ms'] for each in own])):.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def kind_of(name: str) -> str:
    """Return what a filter is, without its share."""
    return re.sub(r" [\d.]+%$", "", name) if not name.endswith(("range 25%", "range 50%")) else name


def save_plot(found: dict[str, Any], path: Path) -> None:
    """Draw recall and time against the share that passes, a colour for each kind of filter, another mark for others."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    recalls, times = figure.subplots(1, 2)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, filters in found["filters"].items():
        if filters:
            kinds.setdefault(kind_of(name), []).append(
                {key: float(np.mean([each[key] for each in filters])) for key in ("share", "recall_at_10")}
                | {"ms": float(np.median([each["evaluate_ms"] + each["found_ms"] for each in filters]))}
                | {"exact_ms": float(np.median([each["evaluate_ms"] + each["exact_ms"] for each in filters]))}
                | {
                    peer: float(
                        np.mean([each["peers"][peer]["recall_at_10"] for each in filters if peer in each["peers"]])
                    )
                    for peer in found["peers"]
                }
            )
    for number, (kind, points) in enumerate(kinds.items()):
        shares, colour = [100 * each["share"] for each in points], f"C{number}"
        recalls.plot(shares, [each["recall_at_10"] for each in points], "o-", color=colour, label=kind, markersize=4)
        for peer, mark in zip(found["peers"], "+x", strict=False):
            recalls.plot(shares, [each[peer] for each in points], mark, color=colour, markersize=5, alpha=0.6)
        times.plot(shares, [each["ms"] for each in points], "o", color=colour, markersize=4)
        times.plot(shares, [each["exact_ms"] for each in points], "x", color=colour, markersize=4)
    for axes in (recalls, times):
        axes.set(xscale="log", xlabel="% of the products that pass")
        axes.grid(visible=True, alpha=0.3)
    recalls.axhline(0.98, color="grey", linestyle="--", linewidth=1)
    others = ", ".join(f"{peer} ({mark})" for peer, mark in zip(found["peers"], "+x", strict=False))
    recalls.set(ylabel=f"recall@10 of Trident (dot){', ' + others if others else ''}")
    times.set(ylabel="ms with the filter (dot), exact over what passes (cross)", yscale="log")
    recalls.legend(fontsize=7, loc="lower right")
    figure.suptitle(f"{found['products']:,} products")
    figure.savefig(path)
