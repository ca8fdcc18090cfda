"""The comparison of two generations for people: one HTML file that needs no network."""

from __future__ import annotations

from trident.comparison.serving_comparison import K, ServingComparison
from trident.pages import page_templates

TEMPLATE = "comparison.html.j2"


def render_comparison(comparison: ServingComparison, *, source: str) -> str:
    """Return the page as HTML.

    Args:
        comparison: What is shown.
        source: Where the queries come from, in words.
    """
    environment = page_templates("trident.comparison", "trident", decimals=3)
    return environment.get_template(TEMPLATE).render(compared=comparison, source=source, k=K)
