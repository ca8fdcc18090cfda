"""Figures as files and as inline SVG: one palette for light and dark, and the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# What stands for what; the page's style sheet says the same colours for the dark.
PALETTE = {
    "ink": "#1f2933",
    "muted": "#5f6b7a",
    "grid": "#e1e5ea",
    "trained": "#0b7a5f",
    "pretrained": "#3f6fb5",
    "bm25": "#a9690c",
    "random": "#858f9c",
    "irrelevant": "#c2562f",
    "violet": "#7656a8",
}
INK, MUTED, GRID = PALETTE["ink"], PALETTE["muted"], PALETTE["grid"]

PANEL_INCHES = (4.1, 3.0)  # small, so that its text is still read when a phone shrinks it
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trident",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.8,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    Attributes:
        key: Its name in files and identifiers, such as ``roc-movies``.
        title: Stands above it.
        description: What it shows, with the numbers that matter, for readers who do not see it.
        figure: Drawn inside ``drawing_style``.
    """

    key: str
    title: str
    description: str
    figure: Figure


@contextmanager
def drawing_style() -> Iterator[None]:
    """Draw and save in Trident's style, and deterministically."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]  # the stub wants literal keys
        yield


def new_panel(*, width: float = PANEL_INCHES[0], height: float = PANEL_INCHES[1]) -> tuple[Figure, Axes]:
    """Return a figure with one empty pair of axes; sizes are in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def to_svg(figure: Figure) -> str:
    """Return a figure as an SVG document on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata=NO_METADATA)
    return buffer.getvalue().decode()


def to_png(figure: Figure) -> bytes:
    """Return a figure as a PNG on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def to_inline_svg(drawing: Drawing) -> str:
    """Return a drawing as an ``<svg>`` element for a page: no size, the page's colours and font, its own ids."""
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    text = buffer.getvalue().decode()
    text = re.sub(r"<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)  # it would style the page
    view_box = re.search(r'viewBox="([^"]+)"', text)
    assert view_box is not None
    text = re.sub(r"<[^>]+>", _rounded, text)
    label = f'role="img" aria-label="{escape(drawing.description)}"'
    text = f'<svg viewBox="{view_box[1]}" {label}>' + text[text.index(">") + 1 :]
    text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
    text = re.sub(r'id="([^"]+)"', rf'id="{drawing.key}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{drawing.key}-\1"', text).replace("xlink:href", "href")
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{drawing.key}-\1)", text)
    for name, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def _rounded(tag: re.Match[str]) -> str:
    return re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0])  # a hundredth of a point is enough
