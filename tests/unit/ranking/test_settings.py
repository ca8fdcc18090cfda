"""How a generation ranks, as its folder says it; damage and what is out of range are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from trident.errors import ConfigError, GenerationError
from trident.ranking.settings import RANKING_FILE, RankingSettings


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = RankingSettings(
        mode="hybrid", weight=None, depth=50, spelling=("dense",), weak_below=0.2, chosen={"queries": 3}
    )
    settings.save(tmp_path)
    assert RankingSettings.load(tmp_path) == settings


@pytest.mark.parametrize("content", ["", "{", '{"weight": 2.0}', '{"mode": "sparse"}', '{"unknown": 1}'])
def test_damaged_settings_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / RANKING_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(GenerationError, match=r"ranking.json is missing or damaged: .*; export again"):
        RankingSettings.load(tmp_path)


def test_missing_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"ranking.json is missing or damaged: .*No such file"):
        RankingSettings.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"weight": 1.1}, r"ranking.weight must be in \[0, 1\], got 1.1"),
        ({"depth": 0}, "ranking.depth must be >= 1 product, got 0"),
        ({"weak_below": 1.5}, "ranking.weak_below must be -1 to 1, a cosine, got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        RankingSettings(**values)  # type: ignore[arg-type]
