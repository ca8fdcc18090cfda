"""The figures of a run's report: loss, validation, ROC curves, score histograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from trident.errors import TridentError
from trident.generation.staging import write_text
from trident_train.report.drawing import INK, MUTED, PALETTE, PANEL_INCHES, Drawing, drawing_style, new_panel, to_svg
from trident_train.report.report import FIRST_STAGE, PRETRAINED
from trident_train.report.results import RunResults, SourceResult, Table, read_results

CURVE_POINTS = 200  # of a ROC curve
LOSS_POINTS = 300  # more steps are averaged
BINS = 40  # of a histogram
METRIC_NAMES = {
    "roc_auc": "ROC-AUC",
    "ndcg_at_10": "NDCG@10",
    "mrr_at_10": "MRR@10",
    "catalogue_ndcg_at_10": "catalogue NDCG@10",
    "catalogue_recall_at_100": "catalogue Recall@100",
}
ARM_STYLES = {
    "random": ("random", ":"),
    "BM25": ("bm25", "-."),
    PRETRAINED: ("pretrained", "--"),
    FIRST_STAGE: ("pretrained", "--"),
}
LINE_COLOURS = ("trained", "pretrained", "bm25", "violet", "irrelevant", "random")
LINE_MARKERS = "osD^v"


def save_figures(folder: Path, target: Path) -> list[Path]:
    """Write the figures of a run folder as SVG files; return their paths.

    Args:
        folder: The run folder.
        target: The folder to write into, made if it is not there.

    Raises:
        TridentError: If the folder is no run, or ``target`` cannot be written.
    """
    results = read_results(folder)
    paths = []
    with drawing_style():
        drawings = training_drawings(results)
        for source in results.sources:
            drawings += [*roc_drawings(source), *histogram_drawings(source, results.trained_arm)]
        try:
            target.mkdir(parents=True, exist_ok=True)
            for drawing in drawings:
                paths.append(target / f"{drawing.key}.svg")
                write_text(paths[-1], to_svg(drawing.figure))
        except OSError as error:
            raise TridentError(f"{target} cannot be written: {error.strerror or error}") from error
    return paths


def metric_name(metric: str) -> str:
    """Return a metric as people write it; ``movies/roc_auc`` becomes ``movies ROC-AUC``."""
    source, _, name = metric.rpartition("/")
    return f"{source} {METRIC_NAMES.get(name, name)}".strip()


def arm_colour(arm: str) -> str:
    """Return the colour of an arm of the table; every trained arm has the same."""
    return PALETTE[ARM_STYLES[arm][0] if arm in ARM_STYLES else "trained"]


def training_drawings(results: RunResults) -> list[Drawing]:
    """Return loss and validation curves; nothing without training."""
    trained = results.report["trained"]
    if trained is None:
        return []
    drawings = [_loss(results.losses, trained["epochs"])] if results.losses.size else []
    drawings.append(_validation(trained, results.report["pretrained_validation"]))
    return drawings


def roc_drawings(source: SourceResult) -> list[Drawing]:
    """Return the ROC curves of all arms; none where the labels are all equal."""
    labels = source.pairs.labels
    if len(set(labels.tolist())) < 2:
        return []
    figure, axes = new_panel()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    areas = []
    for arm, scores in source.scores.items():
        area = f"{arm} {source.row(arm)['judged']['roc_auc']['value']:.3f}"
        areas.append(area)
        false_rate, true_rate = _thinned(*roc_curve(labels, scores)[:2])
        style = ARM_STYLES[arm][1] if arm in ARM_STYLES else "-"
        axes.plot(false_rate, true_rate, style, color=arm_colour(arm), label=area)
    axes.set(xlabel="irrelevant pairs accepted", ylabel="relevant pairs accepted", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right", title="area under the curve", title_fontsize=9)
    return [
        Drawing(
            key=_key("roc", source),
            title="ROC curves",
            description=f"ROC curves on the test split; areas under them: {', '.join(areas)}.",
            figure=figure,
        )
    ]


def histogram_drawings(source: SourceResult, trained_arm: str | None, before: str = PRETRAINED) -> list[Drawing]:
    """Return the score histograms of relevant and irrelevant pairs, before and (if trained) after.

    They are on equal axes where both scores are cosines; a reranker's are logits.
    """
    arms = [before] + ([trained_arm] if trained_arm is not None else [])
    scales = {arm: arms if before == PRETRAINED else [arm] for arm in arms}
    edges_of = {arm: _edges(np.concatenate([source.scores[other] for other in scales[arm]])) for arm in arms}
    shares = {arm: _class_shares(source.pairs.labels, source.scores[arm], edges_of[arm]) for arm in arms}
    highest = max(float(share.max()) for both in shares.values() for share in both.values())
    drawings = []
    for arm in arms:
        figure, axes = new_panel()
        means = []
        for name, share in shares[arm].items():
            colour = PALETTE["trained" if name == "relevant" else "irrelevant"]
            wanted = source.pairs.labels == (name == "relevant")
            mean = float(source.scores[arm][wanted].mean())
            means.append(f"{name} {mean:.2f}")
            axes.stairs(share, edges_of[arm], fill=True, color=colour, alpha=0.25)
            axes.stairs(share, edges_of[arm], color=colour, linewidth=1.4, label=f"{name} {mean:.2f}")
        what = "cosine" if PRETRAINED in (arm, before) or arm == before else "logit"
        axes.set(xlabel=f"score ({what})", ylabel="% of the class", ylim=(0, highest * 1.35))
        axes.legend(loc="upper left", ncols=2, title="mean score", title_fontsize=9, handlelength=1.2)
        when = f"before ({arm})" if arm == before else f"after ({arm})"
        drawings.append(
            Drawing(
                key=_key("scores-before" if arm == before else "scores-after", source),
                title=f"Scores {when}",
                description=f"Histogram of scores {when}; mean scores: {', '.join(means)}.",
                figure=figure,
            )
        )
    return drawings


def _edges(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    low, high = float(scores.min()), float(scores.max())
    return np.linspace(low, max(high, low + 1e-6), BINS + 1)


def _loss(losses: NDArray[np.float64], epochs: Sequence[Table]) -> Drawing:
    figure, axes = new_panel()
    size = -(-losses.size // LOSS_POINTS)  # steps a point
    steps = np.arange(1, losses.size + 1)
    starts = np.arange(0, losses.size, size)
    counts = np.diff([*starts, losses.size])
    drawn = np.add.reduceat(losses, starts) / counts
    places = np.add.reduceat(steps, starts) / counts
    name = "a step" if size == 1 else f"mean of {size} steps"
    marker = "o" if losses.size == 1 else None
    axes.plot(places, drawn, color=PALETTE["pretrained"], linewidth=1.0, alpha=0.8, marker=marker, label=name)
    ends = [epoch["step"] for epoch in epochs]
    means = [epoch["mean_loss"] for epoch in epochs]
    axes.plot(ends, means, "o-", color=PALETTE["trained"], markersize=4.5, label="mean of an epoch")
    axes.set(xlabel="step", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.legend(loc="upper right")
    description = f"Training loss over {losses.size:,} steps; mean of the first epoch {means[0]:.4f}, of the last "
    return Drawing("loss", "Training loss", f"{description}{means[-1]:.4f}.", figure)


def _validation(trained: Table, pretrained: Table) -> Drawing:
    epochs = trained["epochs"]
    numbers = [epoch["epoch"] for epoch in epochs]
    curves = {
        metric_name(name): (name, [epoch["validation"][name] for epoch in epochs]) for name in pretrained["metrics"]
    }
    figure, axes = new_panel(height=PANEL_INCHES[1] + 0.18 * max(len(curves) - 2, 0))
    for place, (label, (name, values)) in enumerate(curves.items()):
        colour = PALETTE[LINE_COLOURS[place % len(LINE_COLOURS)]]
        marker = LINE_MARKERS[place % len(LINE_MARKERS)]
        axes.plot(numbers, values, color=colour, marker=marker, markersize=4.5, label=label)
        axes.axhline(pretrained["metrics"][name], color=colour, linestyle="--", linewidth=1.1)
    axes.axvline(trained["best_epoch"], color=INK, linestyle=":", linewidth=1.2, label="best epoch")
    axes.plot([], [], color=MUTED, linestyle="--", linewidth=1.1, label="pretrained")
    axes.set(xlabel="epoch", ylabel="validation split")
    axes.set_xlim(min(numbers) - 0.4, max(numbers) + 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # a single epoch is 1, not 0.96 to 1.04
    _legend_below(axes)
    best = epochs[trained["best_epoch"] - 1]
    scores = ", ".join(f"{epoch['score']:.4f}" for epoch in epochs)
    return Drawing(
        key="validation",
        title="Validation",
        description=f"Validation score by epoch: {scores}; best in epoch {best['epoch']}; "
        f"pretrained {pretrained['value']:.4f}.",
        figure=figure,
    )


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def _thinned(
    false_rate: NDArray[np.float64], true_rate: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if false_rate.size <= CURVE_POINTS:
        return false_rate, true_rate
    along = false_rate + true_rate  # grows along the curve, from 0 to 2
    places = np.linspace(0, 2, CURVE_POINTS)
    return np.interp(places, along, false_rate), np.interp(places, along, true_rate)


def _class_shares(
    labels: NDArray[np.int8], scores: NDArray[np.float32], edges: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    shares = {}
    for name, label in (("irrelevant", 0), ("relevant", 1)):
        chosen = scores[labels == label].astype(np.float64)
        if chosen.size:
            shares[name] = np.histogram(np.clip(chosen, edges[0], edges[-1]), edges)[0] * (100 / chosen.size)
    return shares


def _key(name: str, source: SourceResult) -> str:
    return f"{name}-{source.name}" if source.name else name
