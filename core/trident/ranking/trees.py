"""The last stage: trees over what the stages before and the texts say of a query and a product.

Boosted trees (LightGBM, lambdarank) cost microseconds a product. Their file is the library's own text format, read
without pickle; a damaged one could end the process, so its hash is held against the generation's first.

Source: Burges 2010, From RankNet to LambdaRank to LambdaMART.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.encoder.base_model import file_sha256
from trident.errors import GenerationError, MissingExtraError

TREES_FILE = "trees.txt"
FEATURES = (
    "cosine",
    "logit",
    "first",  # what the first stage's order was decided by: the cosine, or that and BM25 together
    "bm25",  # missing where it was not asked
    "place",  # in the order of the stage before, from 0
    "words_shared",  # share of the query's words that the title has
    "numbers_shared",  # share of the query's numbers that the title has; missing where it has none
    "models_shared",  # the same of words of letters and digits, such as model numbers
    "words_of_query",
    "words_of_title",
)
WORD = re.compile(r"\w+(?:[.,]\d+)?")
ATTRIBUTE = "attribute_"  # before the name of an attribute, whose feature is its number
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")  # of an attribute: LightGBM takes others for none, or for another one
REMEDY = "install it: pip install 'trident-search[trees]'"


class Trees:
    """Boosted trees; ``load`` them.

    Args:
        booster: A ``lightgbm.Booster``.
    """

    def __init__(self, booster: Any) -> None:
        """Keep the trees."""
        self._booster = booster
        self.attributes = tuple(name.removeprefix(ATTRIBUTE) for name in booster.feature_name()[len(FEATURES) :])

    @classmethod
    def load(cls, folder: Path, *, sha256: str) -> Trees:
        """Return the trees of a version folder.

        Args:
            folder: Holds ``trees.txt``.
            sha256: That the file must have.

        Raises:
            GenerationError: If they are missing, of another generation, or of another list of features.
            MissingExtraError: If LightGBM is not installed.
        """
        path = folder / TREES_FILE
        if not path.is_file():
            raise GenerationError(f"trees {path} are missing, which the generation has: export again")
        if (found := file_sha256(path)) != sha256:
            raise GenerationError(
                f"trees {path} must be those of the generation, {sha256[:12]}, got {found[:12]}: export again"
            )
        booster = load_lightgbm().Booster(model_str=path.read_text(encoding="utf-8"))
        names = tuple(booster.feature_name())
        own = names[: len(FEATURES)], names[len(FEATURES) :]
        if own[0] != FEATURES or not all(name.startswith(ATTRIBUTE) for name in own[1]):
            raise GenerationError(
                f"trees {path} must be of the features {', '.join(FEATURES)} and of attributes, got "
                f"{', '.join(names)}: another version of Trident made them, export again"
            )
        return cls(booster)

    def score(self, features: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return a score (N,) of each row of features (N, F), higher is better; equal rows have equal scores."""
        if not len(features):
            return np.empty(0, dtype=np.float32)
        scores: NDArray[np.float32] = np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float32)
        return scores


def load_lightgbm() -> Any:
    """Return the library.

    Raises:
        MissingExtraError: If it is not installed, with how to install it.
    """
    if importlib.util.find_spec("lightgbm") is None:
        raise MissingExtraError(f"trees need LightGBM, which is not installed; {REMEDY}")
    return importlib.import_module("lightgbm")


@dataclass(frozen=True, eq=False)
class Signals:
    """What the stages before say of N products of a query, in the order of the last of them, (N,) each."""

    cosines: NDArray[np.float32]
    logits: NDArray[np.float32]
    first: NDArray[np.float32]
    bm25: Sequence[float | None]
    attributes: Sequence[Mapping[str, Any]] = ()  # numbers by name, of the products that have them


def feature_names(attributes: Sequence[str]) -> list[str]:
    """Return the names of all features, those of number attributes behind the others."""
    return [*FEATURES, *(ATTRIBUTE + name for name in attributes)]


def tree_features(
    query: str, titles: Sequence[str], signals: Signals, attributes: Sequence[str] = ()
) -> NDArray[np.float64]:
    """Return the features (N, F) of N products of a query, in the order of the stage before.

    Args:
        query: As it was asked.
        titles: Of the products.
        signals: Of the stages before.
        attributes: Names of number attributes that are features too.
    """
    asked = words(query)
    numbers, models = [word for word in asked if word.isdecimal()], [word for word in asked if _is_model(word)]
    rows = []
    for place, title in enumerate(titles):
        all_words = words(title)
        found, bm25 = set(all_words), signals.bm25[place]
        rows.append(
            (
                float(signals.cosines[place]),
                float(signals.logits[place]),
                float(signals.first[place]),
                float("nan") if bm25 is None else float(bm25),
                float(place),
                _share(asked, found),
                _share(numbers, found),
                _share(models, found),
                float(len(asked)),
                float(len(all_words)),
                *(_number(signals.attributes[place].get(name)) for name in attributes),
            )
        )
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(FEATURES) + len(attributes))


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def words(text: str) -> list[str]:
    """Return the words of a text, case folded; a number keeps its decimals."""
    return WORD.findall(text.casefold())


def _share(asked: Sequence[str], found: set[str]) -> float:
    return float("nan") if not asked else sum(word in found for word in asked) / len(asked)


def _is_model(word: str) -> bool:
    return any(letter.isalpha() for letter in word) and any(letter.isdigit() for letter in word)
