"""What a label says: relevant or not, and its gain for NDCG; numbers, truth values, or letters by a map."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.data.reading import Options
from trident.errors import ConfigError, DataError, nearest

TRUTH = {"true": 1.0, "false": 0.0}
SHOWN = 8  # different labels in an error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LabelRule:
    """Which labels are relevant, and what they are worth.

    Attributes:
        positive_from: Labels of at least this value are relevant; by ``gains``, those of at least this gain. None:
            labels are 0 and 1, or relevant where ``gains`` gives them more than 0.
        gains: Gain of each label, by its text (``{"E": 1.0, "I": 0.0}``); empty: labels are numbers.
    """

    positive_from: float | None = None
    gains: Mapping[str, float] = field(default_factory=dict)


def parse_gains(items: list[str], option: str = "--gain") -> dict[str, float]:
    """Return ``LABEL=GAIN`` items as a mapping.

    Raises:
        ConfigError: If an item is no such pair, or a gain no number of at least 0.
    """
    gains = {}
    for item in items:
        label, separator, text = item.rpartition("=")
        try:
            gains[label.strip()] = float(text)
        except ValueError as error:
            raise ConfigError(f"{option} takes LABEL=GAIN, such as E=1, got '{item}'") from error
        if not separator or not label.strip():
            raise ConfigError(f"{option} takes LABEL=GAIN, such as E=1, got '{item}'")
    check_gains(gains, option)
    return gains


def check_gains(gains: Mapping[str, float], option: str) -> None:
    """Raise unless all gains are numbers of at least 0, and not all the same.

    Raises:
        ConfigError: Naming the option and the label.
    """
    for label, gain in gains.items():
        if not (math.isfinite(gain) and gain >= 0):
            raise ConfigError(f"{option}: a gain must be >= 0, got {gain:g} for '{label}'")
    if gains and not any(gains.values()):
        raise ConfigError(f"{option}: one label must have a gain above 0, got none")


def labels_and_gains(
    texts: list[str], rule: LabelRule, path: Path, options: Options
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the label of each pair, 1 or 0, and its gain, (P,) each; a label below 0 is worth 0.

    Raises:
        DataError: If a label is neither a number nor mapped, or neither 0 nor 1 without ``positive_from``.
    """
    if rule.gains:
        values = _mapped(texts, rule.gains, path, options)
        labels = values > 0 if rule.positive_from is None else values >= rule.positive_from
        if rule.positive_from is None and len(set(rule.gains.values()) - {0.0}) > 1:
            relevant = ", ".join(label for label, gain in rule.gains.items() if gain > 0)
            logger.info("%s: labels with a gain are relevant: %s", path, relevant)
        return labels.astype(np.int8), values.astype(np.float32)
    values = numbers(texts, "relevance_label", path, truth=True, remedy=lambda: _map_remedy(texts, options))
    if rule.positive_from is not None:
        return (values >= rule.positive_from).astype(np.int8), np.maximum(values, 0).astype(np.float32)
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if wrong.size:
        row = int(wrong[0])
        lowest = "1" if set(values.tolist()) <= {-1.0, 0.0, 1.0} else "LOWEST_RELEVANT"
        raise DataError(
            f"relevance_label must be 0 or 1, got {texts[row]} in row {row + 1} of {path} ({wrong.size:,} such rows): "
            f"set {options.positive_from.format(value=lowest)}, from which on labels are relevant"
        )
    return values.astype(np.int8), values.astype(np.float32)


def numbers(
    texts: list[str], column: str, path: Path, *, truth: bool = False, remedy: Callable[[], str] = str
) -> NDArray[np.float64]:
    """Return texts as finite numbers (P,).

    Args:
        texts: P texts.
        column: What errors call them.
        path: Where they are from.
        truth: Whether ``true`` is 1 and ``false`` 0, however they are spelt.
        remedy: Gives what an error ends with where a text is no number.

    Raises:
        DataError: Naming the first that is none.
    """
    known: dict[str, float] = {}
    for row, text in enumerate(texts):
        if text in known:
            continue
        try:
            known[text] = TRUTH[text.strip().lower()] if truth and text.strip().lower() in TRUTH else float(text)
        except ValueError as error:
            raise DataError(
                f"column '{column}' must hold numbers, got {text!r} in row {row + 1} of {path}{remedy()}"
            ) from error
        if not math.isfinite(known[text]):
            raise DataError(f"column '{column}' must hold finite numbers, got {text!r} in row {row + 1} of {path}")
    return np.array([known[text] for text in texts], dtype=np.float64)


def _mapped(texts: list[str], gains: Mapping[str, float], path: Path, options: Options) -> NDArray[np.float64]:
    by_text = {text: _gain_of(text, gains) for text in set(texts)}
    unknown = sorted(text for text, gain in by_text.items() if gain is None)
    if unknown:
        row = next(row for row, text in enumerate(texts) if by_text[text] is None)
        raise DataError(
            f"relevance_label must be one of {', '.join(gains)}, which have gains, got {texts[row]!r} in row {row + 1} "
            f"of {path}{nearest(texts[row], gains)}: add {options.map_gains(dict.fromkeys(unknown[:SHOWN], 0.0))}"
        )
    return np.array([by_text[text] for text in texts], dtype=np.float64)


def _gain_of(text: str, gains: Mapping[str, float]) -> float | None:
    if text.strip() in gains:
        return gains[text.strip()]
    number = _number(text)  # "3.0" is the label 3
    return next((gain for label, gain in gains.items() if number is not None and _number(label) == number), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _map_remedy(texts: list[str], options: Options) -> str:
    different = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
    if len(different) > SHOWN or all(_number(text) is not None for text in different):
        return ""
    example = dict.fromkeys(different, 0.0) | {different[0]: 1.0}
    return f": say what each label is worth, such as {options.map_gains(example)}"
