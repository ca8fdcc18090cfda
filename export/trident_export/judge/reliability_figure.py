"""Draws a reliability diagram: what was foretold beside what came true."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from trident.quality.reliability import Bin, Reliability

SIZE, MARGIN = 320, 48  # points: of the square, and around it
INK, MUTED, GRID, ACCENT = "#1f2933", "#5f6b7a", "#e1e5ea", "#0b7a5f"
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def save_figure(measured: Reliability, path: Path) -> None:
    """Write a reliability diagram as an SVG file, the same bytes for the same figures."""
    path.write_text(reliability_svg(measured), encoding="utf-8")


def reliability_svg(measured: Reliability) -> str:
    """Return a reliability diagram: a point for each bin, with the interval of its relevant share; a bar for its size.

    On the diagonal, products of which 70% was foretold are relevant in 70% of cases.
    """
    width = SIZE + 2 * MARGIN
    error = measured.error
    title = (
        f"Calibration error {error.value:.3f} ({error.low:.3f} to {error.high:.3f}), {measured.candidates:,} "
        f"candidates of {measured.queries:,} queries"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {width}" width="{width}" height="{width}" '
        f'role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{width}" fill="white"/>',
        f'<text x="{MARGIN}" y="24" fill="{INK}" font-size="12">{escape(title)}</text>',
    ]
    for tick in TICKS:
        x, y = _x(tick), _y(tick)
        parts += [
            _line((x, _y(0)), (x, _y(1)), GRID),
            _line((_x(0), y), (_x(1), y), GRID),
            f'<text x="{x:.1f}" y="{_y(0) + 16:.1f}" fill="{MUTED}" text-anchor="middle">{tick:g}</text>',
            f'<text x="{_x(0) - 6:.1f}" y="{y + 4:.1f}" fill="{MUTED}" text-anchor="end">{tick:g}</text>',
        ]
    parts += _bars(measured.bins)
    parts.append(_line((_x(0), _y(0)), (_x(1), _y(1)), MUTED))
    for each in measured.bins:
        x = _x(each.probability)
        parts += [
            _line((x, _y(each.low)), (x, _y(each.high)), ACCENT),
            f'<circle cx="{x:.1f}" cy="{_y(each.relevant):.1f}" r="4" fill="{ACCENT}"/>',
        ]
    middle = _x(0.5)
    parts += [
        f'<text x="{middle:.1f}" y="{width - 10}" fill="{INK}" text-anchor="middle">probability said</text>',
        f'<text x="14" y="{middle:.1f}" fill="{INK}" text-anchor="middle" transform="rotate(-90 14 {middle:.1f})">'
        "share that is relevant</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bars(bins: Sequence[Bin]) -> list[str]:
    """Return a bar for each bin, a fifth of the square high where it holds most candidates."""
    most = max(each.candidates for each in bins)
    bars = []
    for each in bins:
        height = SIZE / 5 * each.candidates / most
        left = _x(each.probability) - 8
        bars.append(
            f'<rect x="{left:.1f}" y="{_y(0) - height:.1f}" width="16" height="{height:.1f}" fill="{MUTED}" '
            'fill-opacity="0.2"/>'
        )
    return bars


def _line(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" stroke="{colour}" '
        'stroke-width="1.5"/>'
    )


def _x(value: float) -> float:
    return MARGIN + SIZE * value


def _y(value: float) -> float:
    return MARGIN + SIZE * (1 - value)
