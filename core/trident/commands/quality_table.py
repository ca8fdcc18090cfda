"""Quality figures of several arms as one table."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def by_data(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows by the name of their data, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["data"], []).append(row)
    return found


def quality_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Return a table with a line for each arm.

    Args:
        title: Above the table.
        rows: ``trident_train.judge.evaluate.Row`` as plain tables.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("arm")
    for name in ("ROC-AUC", "95% interval", "NDCG@10", "MRR@10"):
        table.add_column(name, justify="right")
    whole = any(row["catalogue"] for row in rows)
    if whole:
        for name in ("catalogue NDCG@10", "95% interval", "judged", "MRR@10", "Recall@10", "Recall@100"):
            table.add_column(name, justify="right")
    for row in rows:
        judged, auc = row["judged"], row["judged"]["roc_auc"]
        cells = [
            f"{auc['value']:.4f}",
            f"{auc['low']:.3f} to {auc['high']:.3f}",
            f"{judged['ndcg_at_10']:.4f}",
            f"{judged['mrr_at_10']:.4f}",
        ]
        if whole:
            cells += _catalogue_cells(row["catalogue"])
        table.add_row(row["name"], *cells)
    first = rows[0]["judged"]
    table.caption = f"{first['pairs']:,} pairs; ranking over {first['queries']:,} queries with a relevant product"
    return table


def _catalogue_cells(catalogue: dict[str, Any] | None) -> list[str]:
    if not catalogue:
        return [""] * 6
    low, share = catalogue.get("ndcg_low"), catalogue.get("judged_at_10")  # not of runs of earlier versions
    interval = "" if low is None else f"{low:.3f} to {catalogue['ndcg_high']:.3f}"
    figures = [f"{catalogue[name]:.4f}" for name in ("ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100")]
    return [figures[0], interval, "" if share is None else f"{share:.0%}", *figures[1:]]
