"""What ``bench/suggest.py`` asks with: a typo behind the first letter, and a typo indeed."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

PROGRAM = Path(__file__).parents[3] / "bench" / "suggest.py"


def test_a_made_typo_is_one_and_leaves_the_first_letter() -> None:
    spec = importlib.util.spec_from_file_location("bench_suggest", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    draw = random.Random(0)
    for _ in range(2000):
        made = program.with_typo("usb cable", draw)
        assert made != "usb cable"
        assert made[0] == "u"
