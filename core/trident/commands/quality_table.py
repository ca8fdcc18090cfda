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
        for name in ("catalogue NDCG@10", "MRR@10", "Recall@10", "Recall@100"):
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
            names = ("ndcg_at_10", "mrr_at_10", "recall_at_10", "recall_at_100")
            cells += [f"{row['catalogue'][name]:.4f}" if row["catalogue"] else "" for name in names]
        table.add_row(row["name"], *cells)
    first = rows[0]["judged"]
    table.caption = f"{first['pairs']:,} pairs; ranking over {first['queries']:,} queries with a relevant product"
    return table
