"""Latency against throughput as a picture: a line for each server and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident.bench.figures import Row
from trident.bench.yardstick import YardstickPoint
from trident.errors import ConfigError

FORMATS = (".svg", ".png")
SIZE_INCHES = (8.0, 5.0)


def check_plot_path(path: Path) -> None:
    """Raise unless the file's name says a known format.

    Raises:
        ConfigError: If it does not.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--plot must end in {' or '.join(FORMATS)}, got '{path.name}'")


def save_plot(rows: Sequence[Row], yardstick: Sequence[YardstickPoint], path: Path, *, title: str) -> None:
    """Write the picture: throughput to the right, latency upwards (solid p50, dotted p99), loads at the points.

    Args:
        rows: Of one or more sweeps.
        yardstick: Drawn as vertical lines, one for each way, where its largest batch ends.
        path: An ``.svg`` or ``.png`` file; its folder is made.
        title: Above the picture.

    Raises:
        ConfigError: If the file's name says another format.
    """
    from matplotlib.figure import Figure

    check_plot_path(path)
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    sweeps: dict[tuple[str, str, bool], list[Row]] = {}
    for row in rows:
        sweeps.setdefault((row.subject, row.protocol, row.load.clients is None), []).append(row)
    for number, ((subject, protocol, is_rate), sweep) in enumerate(sweeps.items()):
        colour = f"C{number}"
        throughput = [row.searches_per_s for row in sweep]
        label = f"{subject} {protocol}{' (Poisson)' if is_rate else ''}"
        axes.plot(throughput, [row.p50_ms for row in sweep], "o-", color=colour, label=label)
        axes.plot(throughput, [row.p99_ms for row in sweep], ":", color=colour)
        for row in sweep:
            axes.annotate(str(row.load), (row.searches_per_s, row.p50_ms), (4, 4), textcoords="offset points", size=7)
            if row.is_knee:
                axes.plot(row.searches_per_s, row.p50_ms, "D", color=colour, markersize=11, fillstyle="none")
    largest = max((point.batch for point in yardstick), default=0)
    for point in (point for point in yardstick if point.batch == largest):
        axes.axvline(point.searches_per_s, color="grey", linestyle="--", linewidth=1)
        axes.annotate(
            f"one process ({point.way}), batches of {point.batch}", (point.searches_per_s, 1), (-3, -3),
            rotation=90, size=7, xycoords=("data", "axes fraction"), textcoords="offset points", ha="right",
            va="top", color="grey",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set(xlabel="searches a second", ylabel="latency, ms (solid p50, dotted p99; diamond: knee)", title=title)
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
