"""Labels: numbers, truth values, and letters by a map."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trident.data.labels import LabelRule, parse_gains
from trident.data.pairs import Pairs, read_pairs
from trident.data.reading import COMMAND, Options, Reading, recipe_options
from trident.errors import ConfigError, DataError

ESCI = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}


def pairs_of(tmp_path: Path, labels: list[str], rule: LabelRule | None = None, options: Options = COMMAND) -> Pairs:
    rows = "".join(f"q,title {row},{label}\n" for row, label in enumerate(labels))
    (tmp_path / "p.csv").write_text(f"query,product_title,relevance_label\n{rows}")
    return read_pairs(tmp_path / "p.csv", Reading(options=options), labels=rule)


@pytest.mark.parametrize(
    ("labels", "rule", "relevant", "gains"),
    [
        (["1", "0.0", "true", "False"], LabelRule(), [1, 0, 1, 0], [1, 0, 1, 0]),
        (["1", "-1", "0"], LabelRule(positive_from=1), [1, 0, 0], [1, 0, 0]),
        (["3", "1", "2.0"], LabelRule(positive_from=2), [1, 0, 1], [3, 1, 2]),
        (["E", "S ", "C", "I"], LabelRule(gains=ESCI), [1, 1, 1, 0], [1, 0.1, 0.01, 0]),
        (["E", "S", "C", "I"], LabelRule(gains=ESCI, positive_from=1), [1, 0, 0, 0], [1, 0.1, 0.01, 0]),
        (["3.0", "1"], LabelRule(gains={"3": 7.0, "1": 0.0}), [1, 0], [7, 0]),
        (["Exact", "Partial"], LabelRule(gains={"Exact": 1, "Partial": 0}), [1, 0], [1, 0]),
    ],
)
def test_what_labels_are_worth(
    tmp_path: Path, labels: list[str], rule: LabelRule, relevant: list[int], gains: list[float]
) -> None:
    pairs = pairs_of(tmp_path, labels, rule)
    assert pairs.labels.tolist() == relevant
    assert pairs.grades.tolist() == pytest.approx(gains)


@pytest.mark.parametrize(
    ("labels", "rule", "options", "message"),
    [
        (
            ["E", "I"],
            LabelRule(),
            recipe_options(),
            "must hold numbers, got 'E' in row 1 of PATH: say what each label is worth, such as "
            "data.gains = { E = 1.0, I = 0.0 }",
        ),
        (["1", "no way"], LabelRule(), COMMAND, """such as --gain 1=1.0 --gain "no way"=0.0"""),
        (["1", "-1"], LabelRule(), COMMAND, "0 or 1, got -1 in row 2 of PATH (1 such rows): set --positive-from 1,"),
        (["1", "3"], LabelRule(), recipe_options(), "set data.positive_from = LOWEST_RELEVANT, from which on"),
        (["E", "X"], LabelRule(gains=ESCI), COMMAND, "one of E, S, C, I, which have gains, got 'X' in row 2 of PATH"),
        (["1", ""], LabelRule(), COMMAND, "must hold numbers, got '' in row 2 of PATH"),
        (["1", "inf"], LabelRule(), COMMAND, "must hold finite numbers, got 'inf' in row 2"),
    ],
)  # fmt: skip
def test_labels_that_say_nothing(
    tmp_path: Path, labels: list[str], rule: LabelRule, options: Options, message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message.replace("PATH", str(tmp_path / "p.csv")))):
        pairs_of(tmp_path, labels, rule, options)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("E", "--gain takes LABEL=GAIN, such as E=1, got 'E'"),
        ("E=one", "--gain takes LABEL=GAIN, such as E=1, got 'E=one'"),
        ("=1", "--gain takes LABEL=GAIN, such as E=1, got '=1'"),
        ("E=-1", "--gain: a gain must be >= 0, got -1 for 'E'"),
        ("E=0", "--gain: one label must have a gain above 0, got none"),
    ],
)
def test_gains_that_are_none(item: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_gains([item])
