"""The audit of labelled pairs: what it counts, what it refuses, what several sources do to each other."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError
from trident_train.data.audit import audit, contradictions
from trident_train.data.sources import load_sources
from trident_train.data.splits import split_pairs
from trident_train.recipe import DataRecipe, SourceRecipe

Rows = list[tuple[str, str, int]]


def write_pairs(path: Path, rows: Rows) -> str:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "product_title", "relevance_label"))
        writer.writerows(rows)
    return str(path)


def plain(name: str, queries: int = 20) -> Rows:
    return [
        (f"{name} {number}", f"{name} product {number} {label}", label) for number in range(queries) for label in (0, 1)
    ]


def pairs_of(rows: Rows, ids: list[str] | None = None) -> Pairs:
    labels = np.array([label for *_, label in rows], dtype=np.int8)
    titles = [title for _, title, _ in rows]
    return Pairs([query for query, *_ in rows], titles, labels, labels.astype(np.float32), ids or titles)


def test_the_audit_counts_what_was_planted() -> None:
    rows = [
        *plain("lamp"),
        ("lamp 0", "lamp product 0 0", 0),  # repeated
        ("LAMP  1", "lamp product 1 1", 1),  # repeated, spelt otherwise
        ("lamp 2", "lamp product 2 1", 0),  # contradicting
        ("sofa", "shared title", 1),
        ("sofa bed", "shared title", 1),
    ]
    ids = [f"id-{number}" for number in range(len(rows))]
    pairs = pairs_of(rows, ids)
    parts = split_pairs(pairs, DataRecipe(pairs="x.csv"), "x.csv")
    found = audit(pairs, parts, leaked=["desk"], dropped=3)
    assert (found.repeated_pairs.count, found.contradicting_labels.count) == (2, 1)
    assert found.contradicting_labels.examples == ("'lamp 2', 'lamp product 2 1'",)
    assert "'lamp 1', 'lamp product 1 1': 2 times" in found.repeated_pairs.examples
    assert any(example.startswith("'shared title': id-") for example in found.duplicate_titles.examples)
    assert (found.leaked_queries.examples, found.dropped_pairs) == (("'desk'",), 3)
    assert sum(split.pairs for split in found.splits.values()) == len(rows)
    assert sum(split.queries for split in found.splits.values()) == 22
    test = found.splits["test"]
    assert test.relevant_share == pytest.approx(float(np.mean(parts.test.labels)))
    seen = set(parts.test.titles) & set(parts.train.titles)
    assert found.seen_titles == pytest.approx(len(seen) / len(set(parts.test.titles)))


def test_contradictions_are_found_across_spellings() -> None:
    rows = [("Red Kettle", "k", 1), ("red  kettle", "k", 0), ("red kettle", "other", 0)]
    assert contradictions(pairs_of(rows)) == {("red kettle", "k"): [0, 1]}


def test_a_held_out_pair_with_both_labels_is_refused_or_left_out(tmp_path: Path) -> None:
    rows = plain("lamp")
    both = [(f"lamp {number}", f"lamp product {number} 1", 0) for number in range(20)]
    path = write_pairs(tmp_path / "pairs.csv", [*rows, *both])
    with pytest.raises(DataError, match=r"no pair may be relevant and irrelevant, got both for query 'lamp \d+'"):
        load_sources(DataRecipe(pairs=path))
    with pytest.raises(DataError, match=r"must hold relevant and irrelevant pairs"):  # every relevant one is dropped
        load_sources(DataRecipe(pairs=path, contradictions="drop"))
    path = write_pairs(tmp_path / "few.csv", [*rows, *both[:4]])
    source = load_sources(DataRecipe(pairs=path, contradictions="drop", test_share=0.3, validation_share=0.3))[0]
    assert source.audit.dropped_pairs == 8
    assert source.audit.contradicting_labels.count == 4
    everything = [
        pair for part in (source.parts.train, source.parts.validation, source.parts.test) for pair in part.titles
    ]
    assert len(everything) == len(rows) - 4


def test_a_contradiction_in_the_train_split_is_reported_only(tmp_path: Path) -> None:
    rows = plain("lamp")
    recipe = DataRecipe(pairs=write_pairs(tmp_path / "pairs.csv", rows))
    query = load_sources(recipe)[0].parts.train.queries[0]
    number = query.removeprefix("lamp ")
    write_pairs(tmp_path / "pairs.csv", [*rows, (query, f"lamp product {number} 1", 0)])
    assert load_sources(recipe)[0].audit.contradicting_labels.count == 1


def test_no_source_trains_on_what_another_holds_out(tmp_path: Path) -> None:
    shared = [(f"both {number}", f"title {number} {label}", label) for number in range(30) for label in (0, 1)]
    first = write_pairs(tmp_path / "first.csv", [*plain("lamp"), *shared])
    second = write_pairs(tmp_path / "second.csv", [*plain("sofa", 50), *shared])
    sources = load_sources(
        DataRecipe(sources={"first": SourceRecipe(pairs=first), "second": SourceRecipe(pairs=second, repeat=2)})
    )
    assert [source.name for source in sources] == ["first", "second"]
    queries = {
        (source.name, part): {normalized_query(query) for query in getattr(source.parts, part).queries}
        for source in sources
        for part in ("train", "validation", "test")
    }
    for one, other in (("first", "second"), ("second", "first")):
        held_out = queries[other, "validation"] | queries[other, "test"]
        assert not queries[one, "train"] & held_out
    assert sum(source.audit.leaked_queries.count for source in sources) > 0
    for source in sources:
        assert source.audit.dropped_pairs == 2 * source.audit.leaked_queries.count


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [(f"q {number}", "title", 1) for number in range(30)],
            "'cosine' needs relevant and irrelevant pairs",
        ),
        ([(f"q {number}", f"title {number}", 0) for number in range(30)], "must hold relevant and irrelevant pairs"),
        ([("q", "title", "good")], "relevance_label"),  # type: ignore[list-item]
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(tmp_path: Path, rows: Rows, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_sources(DataRecipe(pairs=write_pairs(tmp_path / "pairs.csv", rows)))
