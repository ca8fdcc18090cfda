"""A catalogue of words in many combinations, and its lexical index."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from trident.lexical.index import LexicalConfig, LexicalIndex

BRANDS = ["Sony", "HP", "Lenovo", "Müller", "Acme"]
KINDS = ["headphones", "notebook", "USB-C hub", "coffee grinder", "laser printer", "keyboard", "mouse"]
COLOURS = ["black", "white", "silver", "red"]


def made_titles(count: int, seed: int = 3) -> list[str]:
    """Return titles of electronics, each with a model number of its own."""
    draw = random.Random(seed)
    titles = []
    for number in range(count):
        code = (
            f"{draw.choice('ABCDEFGH')}{draw.choice('KLMN')}-{1000 + number}{draw.choice('XYZ')}{draw.randrange(1, 9)}"
        )
        words = [draw.choice(BRANDS), code, draw.choice(KINDS), draw.choice(COLOURS), f"{draw.randrange(1, 9) * 64} GB"]
        titles.append(" ".join(words[: draw.randrange(3, 6)]))
    return titles


@pytest.fixture(scope="session")
def titles() -> Sequence[str]:
    """Return 400 titles."""
    return made_titles(400)


@pytest.fixture(scope="session")
def lexical(titles: Sequence[str]) -> LexicalIndex:
    """Return the index over them."""
    return LexicalIndex.build(titles, LexicalConfig())
