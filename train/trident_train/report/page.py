"""The report of a run for people: one HTML file that needs no network, made from what lies in the run folder.

trident report runs/demo --figures docs/figures
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident.generation.staging import write_text
from trident.pages import page_templates
from trident_train.judge.changed_queries import Changes, changed_queries
from trident_train.report.drawing import Drawing, drawing_style, to_inline_svg
from trident_train.report.figures import histogram_drawings, metric_name, roc_drawings, training_drawings
from trident_train.report.report import before_arm
from trident_train.report.results import RunResults, SourceResult, Table, kept_text, read_results

REPORT_PAGE_FILE = "report.html"
TEMPLATE = "report.html.j2"
FINDINGS = {
    "contradicting_labels": "Pairs labelled relevant and irrelevant",
    "repeated_pairs": "Pairs that stand there again",
    "duplicate_titles": "Titles of several products",
    "leaked_queries": "Train queries that another source holds out",
}


@dataclass(frozen=True)
class Inline:
    """A drawing as it stands on the page; the SVG is markup already."""

    title: str
    svg: str


@dataclass(frozen=True)
class SourceSection:
    """What the page says of one source; ``changes`` is None where nothing was trained."""

    name: str
    pairs: int
    queries: int
    rows: Sequence[Table]
    with_catalogue: bool
    before: Table
    after: Table | None
    curves: Sequence[Inline]
    histograms: Sequence[Inline]
    changes: Changes | None
    audit: Table


def write_report_page(folder: Path, *, name: str | None = None) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Args:
        folder: The run folder; everything on the page lies there.
        name: What the page calls the run; None: the folder's name.

    Raises:
        ModelError: If the folder is no run, is damaged, or was written by another version.
    """
    results = read_results(folder)
    path = folder / REPORT_PAGE_FILE
    write_text(path, render_page(results, name=name or folder.resolve().name))
    return path


def render_page(results: RunResults, *, name: str) -> str:
    """Return the page as HTML."""
    report = results.report
    with drawing_style():
        sources = [_section(source, results) for source in results.sources]
        training = _inline(training_drawings(results))
    environment = page_templates("trident_train.report", "trident", decimals=4)
    environment.filters |= {"size": size_text, "duration": duration_text, "metric": metric_name}
    return environment.get_template(TEMPLATE).render(
        name=name,
        report=report,
        trained_arm=results.trained_arm,
        before_name=before_arm(report),
        sources=sources,
        training=training,
        kept=None if report["trained"] is None else kept_text(report["trained"]),
        costs=_costs(report),
        findings=FINDINGS,
        recipe=sorted(_flat(results.recipe).items()),
    )


def size_text(size_bytes: float) -> str:
    """Return a size for people, such as ``4.7 MB``."""
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def duration_text(seconds: float) -> str:
    """Return a duration for people, such as ``2.4 s``, ``3 min 5 s`` or ``1 h 12 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _section(source: SourceResult, results: RunResults) -> SourceSection:
    trained = results.trained_arm
    before = source.row(before_arm(results.report))
    changes = None
    if trained is not None:
        changes = changed_queries(source.pairs, source.scores[before["name"]], source.scores[trained])
    return SourceSection(
        name=source.name,
        pairs=before["judged"]["pairs"],
        queries=before["judged"]["queries"],
        rows=source.rows,
        with_catalogue=any(row["catalogue"] for row in source.rows),
        before=before,
        after=None if trained is None else source.row(trained),
        curves=_inline(roc_drawings(source)),
        histograms=_inline(histogram_drawings(source, trained, before_arm(results.report))),
        changes=changes,
        audit=results.report["audits"][source.name],
    )


def _inline(drawings: Sequence[Drawing]) -> list[Inline]:
    return [Inline(drawing.title, to_inline_svg(drawing)) for drawing in drawings]


def _costs(report: Table) -> dict[str, str]:
    costs = {
        "Weights trained": f"{report['trained_weights']:,} of {report['total_weights']:,} "
        f"({report['trained_weights'] / report['total_weights']:.2%})",
        "Weights saved": size_text(report["saved_bytes"]),
        "Peak memory": size_text(report["peak_memory_bytes"]),
        "Train pairs": f"{report['train_pairs']:,}",
        "Validation pairs": f"{report['validation_pairs']:,}",
    }
    if report["trained"] is not None:
        epochs = report["trained"]["epochs"]
        pairs = sum(epoch["pairs"] for epoch in epochs)
        seconds = max(report["train_seconds"], 1e-9)
        costs["Training"] = f"{duration_text(seconds)}, {duration_text(seconds / len(epochs))} an epoch"
        costs["Speed"] = f"{pairs / seconds:,.0f} pairs/s"
    costs["Wall time"] = duration_text(report["seconds"])
    resumed = report["resumed_from_step"]
    costs["Interrupted"] = "no" if resumed is None else f"went on from step {resumed:,}"
    return costs


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        elif value is not None and value != {}:
            found[prefix + key] = json.dumps(value, ensure_ascii=False)
    return found
