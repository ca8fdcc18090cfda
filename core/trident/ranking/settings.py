"""How a generation ranks: what was chosen on the validation queries of its run, and what that was chosen by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trident.config import from_table, to_table
from trident.errors import ConfigError, GenerationError

RANKING_FILE = "ranking.json"
Mode = Literal["hybrid", "dense", "lexical"]
DEPTH = 100  # products of a leg
SpellingLegs = tuple[Literal["dense", "lexical"], ...]  # that get the corrected text


@dataclass(frozen=True, kw_only=True)
class RankingSettings:
    """What holds where a query does not say otherwise."""

    mode: Mode = "dense"
    weight: float | None = 0.0  # of BM25 in a hybrid order, 0 to 1; 0: the lexical leg is not run; None: by ranks
    depth: int = DEPTH  # products of each leg
    spelling: SpellingLegs = ()  # legs that get the corrected text
    weak_below: float | None = None  # an answer whose best cosine is lower is weak; None: no answer is
    chosen: dict[str, Any] = field(default_factory=dict)  # what it was chosen by: figures, intervals, queries

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ConfigError(f"ranking.weight must be in [0, 1], got {self.weight}")
        if self.depth < 1:
            raise ConfigError(f"ranking.depth must be >= 1 product, got {self.depth}")
        if self.weak_below is not None and not -1 <= self.weak_below <= 1:
            raise ConfigError(f"ranking.weak_below must be -1 to 1, a cosine, got {self.weak_below}")

    def save(self, folder: Path) -> None:
        """Write ``ranking.json`` into a folder."""
        text = json.dumps(to_table(self), indent=2, sort_keys=True, ensure_ascii=False)
        (folder / RANKING_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> RankingSettings:
        """Read ``ranking.json`` of a folder.

        Raises:
            GenerationError: If it is missing or damaged.
        """
        path = folder / RANKING_FILE
        try:
            settings: RankingSettings = from_table(cls, json.loads(path.read_text(encoding="utf-8")), where=str(path))
        except (OSError, ValueError, ConfigError) as error:
            raise GenerationError(f"{path} is missing or damaged: {error}; export again") from error
        return settings


DENSE = RankingSettings()
