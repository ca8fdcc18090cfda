"""Pairs from what people clicked: a query log says what was shown, a file of clicks what they took of it.

What stands first is clicked more, whatever it is (position bias). So a product's clicks are held against those that its
places get on average over all queries of the log (clicks over expected clicks): relevant is what is clicked at least as
often as its places are. What is left of the bias: the average place is the better for the good products that stand
there, so that a product that always stands first has a hard time, and one that was never shown is not judged at all.

Source: Zhang and Jones, Comparing click logs and editorial labels for training query rewriting, 2007.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident.data.pairs import normalized_query
from trident.data.reading import Reading
from trident.data.tables import read_table, require_text
from trident.errors import ConfigError, DataError

CLICK_COLUMNS = ("id", "product_id")
LOGS = (".serving/*/queries.jsonl.1", ".serving/*/queries.jsonl")  # of a folder of generations; .1 is the older one
WRITTEN = ("query", "product_id", "relevance_label", "impressions", "clicks", "expected_clicks")


@dataclass(frozen=True)
class Impression:
    """An answer that somebody was shown: its id, the query and the products in their order."""

    id: str
    query: str
    product_ids: tuple[str, ...]


@dataclass(frozen=True)
class Click:
    """A product that somebody took of an answer."""

    id: str
    product_id: str


@dataclass(frozen=True, kw_only=True)
class ClickRule:
    """What makes a pair of what was clicked.

    Attributes:
        min_impressions: How often a product must have been shown for a query.
        relevant_from: Clicks over expected clicks from which it is relevant to it.

    Raises:
        ConfigError: If a value breaks a rule.
    """

    min_impressions: int = 10
    relevant_from: float = 1.0

    def __post_init__(self) -> None:
        """Check the rules."""
        if self.min_impressions < 1:
            raise ConfigError(f"--min-impressions must be >= 1, got {self.min_impressions}")
        if not self.relevant_from > 0:
            raise ConfigError(f"--relevant-from must be > 0, got {self.relevant_from}")


@dataclass(frozen=True)
class ClickedPair:
    """A query and a product: how often it was shown, clicked, and clicked if it were like all in its places."""

    query: str
    product_id: str
    impressions: int
    clicks: int
    expected_clicks: float
    is_relevant: bool


@dataclass(frozen=True)
class ClickedPairs:
    """Pairs, and what of the files is not in them.

    ``few_impressions`` are pairs shown too seldom, ``unknown_clicks`` those whose answer the log does not know or whose
    product that answer did not show.
    """

    pairs: list[ClickedPair]
    few_impressions: int
    unknown_clicks: int

    def save(self, path: Path) -> None:
        """Write them as CSV; the file is there whole or not at all."""
        staged = path.with_name(f".{path.name}.partial")
        with staged.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(WRITTEN)
            for pair in self.pairs:
                figures = (int(pair.is_relevant), pair.impressions, pair.clicks, f"{pair.expected_clicks:.4f}")
                writer.writerow((pair.query, pair.product_id, *figures))
        staged.replace(path)


def read_impressions(log: Path) -> list[Impression]:
    """Return the answers of a query log, or of all logs of a folder of generations, that have an id and products.

    A line that was cut off by a kill or a full disk is left out, as are answers that nobody gave an id.

    Raises:
        DataError: If there is no log, or no answer in it.
    """
    files = [path for pattern in LOGS for path in sorted(log.glob(pattern))] if log.is_dir() else [log]
    queries: dict[str, str] = {}
    shown: dict[str, tuple[str, ...]] = {}
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").split("\n")  # a query may hold other breaks
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error}") from error
        for line in lines:
            try:
                row = json.loads(line)
                number = str(row["id"])
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(row.get("query"), str):
                queries[number] = row["query"]
            if isinstance(row.get("shown"), list):
                shown[number] = tuple(map(str, row["shown"]))
    found = [Impression(number, queries[number], products) for number, products in shown.items() if number in queries]
    if not found:
        raise DataError(
            f"{log} must hold answers with an id, got none in {len(files)} files: trident serve --query-log writes "
            "them for what SearchClient asks"
        )
    return found


def read_clicks(path: Path, reading: Reading | None = None) -> list[Click]:
    """Return the clicks of a table with the columns ``id`` (of the answer) and ``product_id``.

    Raises:
        DataError: If the file is missing, of another kind, lacks a column or a value.
    """
    table = read_table(path, reading or Reading(), required=CLICK_COLUMNS, known=CLICK_COLUMNS)
    for column in CLICK_COLUMNS:
        require_text(table, column, path)
    return [Click(*row) for row in zip(table["id"].to_pylist(), table["product_id"].to_pylist(), strict=True)]


def pairs_from_clicks(impressions: Sequence[Impression], clicks: Iterable[Click], rule: ClickRule) -> ClickedPairs:
    """Return the pairs of queries and products that were shown often enough.

    Two clicks on one product of one answer count once; queries that differ in case or white space are one.

    Raises:
        DataError: If no click is of an answer of the log, or nothing was shown often enough.
    """
    taken = set(clicks)
    known = {Click(each.id, product) for each in impressions for product in each.product_ids}
    if not taken & known:
        raise DataError(
            f"clicks must be of answers of the log, got none of {len(taken)} that is: their id must be SearchResult.id "
            "of the answer, and product_id one that it showed"
        )
    shown_at: Counter[int] = Counter()
    clicked_at: Counter[int] = Counter()
    for each in impressions:
        for place, product in enumerate(each.product_ids):
            shown_at[place] += 1
            clicked_at[place] += Click(each.id, product) in taken
    spelled: dict[str, str] = {}
    figures: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for each in impressions:
        query = normalized_query(each.query)
        spelled.setdefault(query, each.query.strip())
        for place, product in enumerate(each.product_ids):
            row = figures[query, product]
            row[0] += 1
            row[1] += Click(each.id, product) in taken
            row[2] += clicked_at[place] / shown_at[place]
    pairs = [
        ClickedPair(
            spelled[query], product, int(shown), int(clicked), expected, 0 < clicked >= rule.relevant_from * expected
        )
        for (query, product), (shown, clicked, expected) in figures.items()
        if shown >= rule.min_impressions
    ]
    if not pairs:
        most = int(max(row[0] for row in figures.values()))
        raise DataError(
            f"a product must have been shown {rule.min_impressions} times for a query, got {most} at most: wait for a "
            f"longer log, or --min-impressions {most}"
        )
    return ClickedPairs(pairs, len(figures) - len(pairs), len(taken - known))
