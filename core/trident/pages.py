"""What the HTML pages share: templates that escape what they are given, and figures as people read them."""

from __future__ import annotations

import jinja2

LONGEST_TEXT = 240  # characters of a title or query that are shown


def page_templates(*packages: str, decimals: int) -> jinja2.Environment:
    """Return the templates of packages, the first that has one giving it, with the filters of every page.

    Args:
        packages: Each has a folder ``templates``.
        decimals: Of a figure.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in packages]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "figure": lambda value: f"{value:.{decimals}f}",
        "signed": lambda value: f"{value:+.{decimals}f}",
        "percent": lambda value: f"{value:.{decimals - 3}%}",
        "count": lambda value: f"{value:,}",
        "short": _short,
    }
    return environment


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
