"""Scores that mean something: the chance that a product is relevant, by a map that keeps the order of the scores.

    calibration = Calibration.load(folder, sha256=identity.calibration)
    chances = calibration.of(DENSE).probability(scores)

A generation has one map for each stage that scores products. Each is strictly monotone: a product with the higher score
has the higher probability, so that a threshold on one is a threshold on the other.

Source: Platt 1999, Probabilistic outputs for support vector machines; Kull, Silva Filho and Flach 2017, Beta
calibration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trident.config import from_table
from trident.encoder.base_model import file_sha256
from trident.errors import ConfigError, GenerationError

CALIBRATION_FILE = "calibration.json"
DENSE, RERANKER, TREES = "dense", "reranker", "trees"  # stages: the cosine, the logit of a pair, the last one's score
STAGES = (DENSE, RERANKER, TREES)
STEEPEST = 500.0  # log-odds of any score: the probability of one beyond them is 0 or 1 in 64 bits, whatever it is
NARROWEST = 1e-9  # of the unit interval's ends, below the distance of the two largest cosines in 32 bits
DECIMALS = 6  # of a probability in an answer

Kind = Literal["platt", "beta", "bent"]


@dataclass(frozen=True, kw_only=True)
class ScoreMap:
    """The map of one stage: ``log(p / (1 - p)) = first * f(score) + second * g(score) + offset``.

    ``platt``: f is the score, there is no g. ``beta``, of cosines: with x = (1 + score) / 2, f is log x and g is
    -log(1 - x). ``bent``, of scores without bounds: the same of x = 1 / (1 + exp(-(score - centre) / width)), so that
    log-odds rise by ``first / width`` a score far below the centre and by ``second / width`` far above it.
    """

    kind: Kind
    first: float
    second: float = 0.0
    offset: float
    centre: float = 0.0
    width: float = 1.0

    def __post_init__(self) -> None:
        """Check that a higher score means a higher probability, everywhere.

        Raises:
            ConfigError: If it does not.
        """
        numbers = (self.first, self.second, self.offset, self.centre, self.width)
        rising = min(self.first, self.second) >= 0 and self.width > 0
        if self.kind == "bent":
            rising = rising and min(self.first, self.second) > 0
        else:
            rising = rising and (self.first > 0 or (self.kind == "beta" and self.second > 0))
        if not (rising and np.isfinite(numbers).all() and (np.diff(self.log_odds(self._grid())) > 0).all()):
            got = f"{self.kind} with {self.first:g}, {self.second:g} and {self.offset:g}"
            raise ConfigError(f"a calibration must be strictly monotone, a higher score the likelier, got {got}")
        if np.abs(self.log_odds(self._grid())).max() > STEEPEST:
            got = f"{self.kind} with {self.first:g}, {self.second:g} and {self.offset:g}"
            raise ConfigError(f"log-odds of a calibration must be at most {STEEPEST:g}, got {got}")

    def _grid(self) -> NDArray[np.float64]:
        return np.linspace(-1.0, 1.0, 201)

    def log_odds(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the log-odds of scores, of any shape."""
        values = np.asarray(scores, dtype=np.float64)
        if self.kind == "platt":
            return self.first * values + self.offset
        if self.kind == "bent":
            low, high = bent_features((values - self.centre) / self.width)
        else:
            low, high = beta_features(values)
        odds: NDArray[np.float64] = self.first * low + self.second * high + self.offset
        return odds

    def probability(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probabilities of scores, of any shape."""
        odds = np.clip(self.log_odds(scores), -STEEPEST, STEEPEST)
        chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
        return chances

    def score_at(self, probability: float) -> float:
        """Return the smallest float32 score, -1 to 1, whose probability is at least that; above 1 where none is.

        For the cosine: a threshold on probabilities is one on scores.
        """
        low, high = -1.0, 1.0
        if self.probability(np.array([high]))[0] < probability:
            return float(np.nextafter(np.float32(1.0), np.float32(2.0)))
        if self.probability(np.array([low]))[0] >= probability:
            return low
        while np.float32(high) > np.nextafter(np.float32(low), np.float32(2.0)):
            middle = float(np.float32((low + high) / 2))
            if self.probability(np.array([middle]))[0] >= probability:
                high = middle
            else:
                low = middle
        return high


def beta_features(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log x and -log(1 - x) of cosines, x being the cosine moved into 0 to 1."""
    unit = np.clip((1.0 + scores) / 2.0, NARROWEST, 1.0 - NARROWEST)
    return np.log(unit), -np.log1p(-unit)


def bent_features(scaled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log x and -log(1 - x) of x = 1 / (1 + exp(-score)), of scores that were moved and scaled."""
    return -np.logaddexp(0.0, -scaled), np.logaddexp(0.0, scaled)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The maps of a generation, by stage."""

    maps: Mapping[str, ScoreMap] = field(default_factory=dict)

    def of(self, stage: str) -> ScoreMap | None:
        """Return the map of a stage; None where it has none."""
        return self.maps.get(stage)

    def save(self, folder: Path) -> Path:
        """Write ``calibration.json`` into a folder; return the file."""
        path = folder / CALIBRATION_FILE
        table = {stage: asdict(each) for stage, each in sorted(self.maps.items())}
        path.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path, *, sha256: str) -> Calibration:
        """Return the maps of a version folder.

        Args:
            folder: Holds ``calibration.json``, unless the generation has none.
            sha256: That the file must have; empty: the generation has none.

        Raises:
            GenerationError: If it is missing, of another generation, or one of its maps is not strictly monotone.
        """
        path = folder / CALIBRATION_FILE
        if not sha256:
            return cls()
        if not path.is_file():
            raise GenerationError(f"calibration {path} is missing, which the generation has: export again")
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            maps = {str(stage): from_table(ScoreMap, each, where=str(path)) for stage, each in table.items()}
        except (OSError, ValueError, AttributeError, ConfigError) as error:
            raise GenerationError(f"calibration {path} is damaged: {error}; export again") from error
        if (found := file_sha256(path)) != sha256:
            raise GenerationError(
                f"calibration {path} must be that of the generation, {sha256[:12]}, got {found[:12]}: export again"
            )
        unknown = sorted(maps.keys() - set(STAGES))
        if unknown:
            raise GenerationError(f"calibration {path} has a map for '{unknown[0]}', known are {', '.join(STAGES)}")
        return cls(maps=maps)
