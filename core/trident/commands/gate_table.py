"""What the gate measured as a table, one row a check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from trident.quality.gate_report import GateReport


def gate_table(report: GateReport) -> Table:
    """Return the checks of a report, with what could not be checked below."""
    against = "by itself" if report.serving is None else f"against {report.serving}"
    table = Table(title=f"gate: generation {report.candidate} {against}", title_justify="left", caption_justify="left")
    for name in ("check", "value", "95% interval", "bound", "passed", "rule"):
        table.add_column(name, justify="right" if name in ("value", "95% interval", "bound") else "left")
    for check in report.checks:
        interval = "" if check.low is None else f"{check.low:+.4f} to {check.high:+.4f}"
        passed = "yes" if check.passed else "NO"
        table.add_row(check.name, f"{check.value:.4f}", interval, f"{check.bound:g}", passed, check.rule)
    table.caption = "\n".join(report.notes) or None
    return table
