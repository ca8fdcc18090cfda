"""The picture of a comparison: ROC-AUC with its interval beside the seconds an epoch, a row for each source."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trident.errors import TridentError
from trident.rights import path_error
from trident_train.report.compare import ComparedArm, Comparison, require_plot_suffix
from trident_train.report.drawing import INK, MUTED, PALETTE, drawing_style, to_png, to_svg

METHOD_COLOURS = {"lora": "trained", "full": "violet", "none": "pretrained"}


def save_plot(comparison: Comparison, path: Path) -> None:
    """Write the picture as SVG or PNG, by the suffix of the path.

    Raises:
        ConfigError: If the suffix is another.
        TridentError: If the file cannot be written.
    """
    require_plot_suffix(path)
    with drawing_style():
        figure = comparison_figure(comparison)
        content = to_svg(figure).encode() if path.suffix == ".svg" else to_png(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise TridentError(
            path_error(error, path=path) or f"{path} cannot be written: {error.strerror or error}"
        ) from error


def comparison_figure(comparison: Comparison) -> Figure:
    """Return the figure; draw and save it inside ``drawing_style``."""
    rows = len(comparison.sources)
    arms = max(len(arms) for arms in comparison.sources.values())
    figure = Figure(figsize=(8.4, rows * (1.1 + 0.36 * arms)), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False, width_ratios=[3, 2])
    for (quality, cost), (name, shown) in zip(grid, comparison.sources.items(), strict=True):
        _draw_quality(quality, shown, comparison)
        _draw_cost(cost, shown, comparison)
        quality.set_title(name or "held-out queries")
    return figure


def _draw_quality(axes: Axes, arms: tuple[ComparedArm, ...], comparison: Comparison) -> None:
    for place, arm in enumerate(arms):
        auc = arm.judged["roc_auc"]
        axes.hlines(place, auc["low"], auc["high"], color=_colour(arm, comparison), linewidth=2.2)
        axes.plot(auc["value"], place, "o", color=_colour(arm, comparison), markersize=6)
        axes.annotate(
            f"{arm.auc:.4f}",
            (auc["value"], place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )
    _label_rows(axes, [arm.name for arm in arms])
    axes.set_xlabel("ROC-AUC, 95% interval over queries")


def _draw_cost(axes: Axes, arms: tuple[ComparedArm, ...], comparison: Comparison) -> None:
    seconds = {cost.run: cost.epoch_seconds for cost in comparison.costs}
    longest = max((value for value in seconds.values() if value is not None), default=1.0)
    for place, arm in enumerate(arms):
        value = None if arm.run is None else seconds[arm.run]
        if value is not None:
            axes.barh(place, value, height=0.5, color=_colour(arm, comparison))
        label = "not trained" if value is None else f"{value:.3g} s"
        axes.annotate(
            label, (value or 0.0, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color=MUTED
        )
    _label_rows(axes, [""] * len(arms))
    axes.set_xlim(0, longest * 1.25)
    axes.set_xlabel("seconds an epoch")


def _label_rows(axes: Axes, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _colour(arm: ComparedArm, comparison: Comparison) -> str:
    if arm.run is None:
        return PALETTE[{"random": "random", "BM25": "bm25"}.get(arm.name, "pretrained")]
    method = next(cost.method for cost in comparison.costs if cost.run == arm.run)
    return PALETTE[METHOD_COLOURS[method]]
