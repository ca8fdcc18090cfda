"""The comparison of two generations for people: one HTML file that needs no network."""

from __future__ import annotations

import jinja2

from trident.serving_comparison import K, ServingComparison

TEMPLATE = "comparison.html.j2"
LONGEST_TEXT = 240  # characters of a title or query that are shown


def render_comparison(comparison: ServingComparison, *, source: str) -> str:
    """Return the page as HTML.

    Args:
        comparison: What is shown.
        source: Where the queries come from, in words.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trident"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "figure": lambda value: f"{value:.3f}",
        "signed": lambda value: f"{value:+.3f}",
        "count": lambda value: f"{value:,}",
        "percent": lambda value: f"{value:.0%}",
        "short": _short,
    }
    return environment.get_template(TEMPLATE).render(compared=comparison, source=source, k=K)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
