"""The bundled sample: its size, its balance, its labels, its splits, and that it is the same on every run."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from trident.data.catalogue import read_catalogue
from trident.data.pairs import normalized_query, read_pairs
from trident.errors import DataError
from trident_train.data.sample import Pair, Sample, generate, write_sample
from trident_train.data.sample.catalogue import build_items
from trident_train.data.sample.intents import assign_splits, build_intents
from trident_train.data.sample.words import ProductType, Vocabulary, check_vocabulary, load_vocabulary

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def sample() -> Sample:
    return generate()


@pytest.fixture(scope="module")
def by_query(sample: Sample) -> dict[str, list[Pair]]:
    grouped: dict[str, list[Pair]] = defaultdict(list)
    for pair in sample.pairs:
        grouped[pair.query].append(pair)
    return dict(grouped)


def test_it_is_as_large_as_promised(sample: Sample, by_query: dict[str, list[Pair]]) -> None:
    assert len(sample.products) >= 2500
    assert len(by_query) >= 480
    departments = Counter(product.department for product in sample.products)
    assert len(departments) >= 14
    assert "books" in departments
    assert min(departments.values()) >= 50
    sizes = {query: len(pairs) for query, pairs in by_query.items()}
    assert min(sizes.values()) >= 14
    assert max(sizes.values()) <= 20


def test_ids_and_titles_are_unique_and_no_text_is_empty(sample: Sample) -> None:
    assert len({product.product_id for product in sample.products}) == len(sample.products)
    assert len({product.product_title.casefold() for product in sample.products}) == len(sample.products)
    for product in sample.products:
        for text in vars(product).values():
            assert text == " ".join(text.split()) != ""
            assert not set(text) & set("{}#")
    for pair in sample.pairs:
        assert pair.query == " ".join(pair.query.split()) != ""


def test_a_book_is_listed_once_a_format() -> None:
    vocabulary = load_vocabulary()
    (books,) = (department for department in vocabulary.departments if department.name == "books")
    nouns = [noun for product_type in books.types for noun in product_type.nouns]
    listed = [
        (noun, item.values["format"])
        for item in build_items(vocabulary, seed=7)
        if item.product.department == "books" and item.role == "main"
        for noun in nouns
        if item.product.product_title.startswith((f"{noun}: ", f"{noun} - "))
    ]
    assert len(listed) == len(set(listed)) == 14 * len(books.types)


def test_pairs_name_products_of_the_catalogue_once_a_query(sample: Sample, by_query: dict[str, list[Pair]]) -> None:
    titles = {product.product_id: product.product_title for product in sample.products}
    for pairs in by_query.values():
        assert len({pair.product_id for pair in pairs}) == len(pairs)
        for pair in pairs:
            assert titles[pair.product_id] == pair.product_title


def test_labels_follow_from_grades_and_are_balanced(sample: Sample, by_query: dict[str, list[Pair]]) -> None:
    assert {pair.grade for pair in sample.pairs} == {0, 1, 2, 3}
    for pair in sample.pairs:
        assert pair.relevance_label == (1 if pair.grade >= 2 else 0)
    for split in SPLITS:
        labels = [pair.relevance_label for pair in sample.pairs if pair.split == split]
        assert 0.35 <= sum(labels) / len(labels) <= 0.45
    for pairs in by_query.values():
        labels = [pair.relevance_label for pair in pairs]
        assert 3 <= sum(labels) <= len(labels) - 6


def test_no_query_is_in_two_splits_or_of_two_kinds(sample: Sample) -> None:
    seen: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for pair in sample.pairs:
        seen[normalized_query(pair.query)].add((pair.query, pair.split, pair.query_kind))
    assert {len(variants) for variants in seen.values()} == {1}


def test_splits_are_70_10_20_and_every_kind_is_in_each_large_one(by_query: dict[str, list[Pair]]) -> None:
    counts = Counter(pairs[0].split for pairs in by_query.values())
    total = sum(counts.values())
    assert counts["train"] / total == pytest.approx(0.70, abs=0.02)
    assert counts["validation"] / total == pytest.approx(0.10, abs=0.02)
    assert counts["test"] / total == pytest.approx(0.20, abs=0.02)
    for split in ("train", "test"):
        kinds = {pairs[0].query_kind for pairs in by_query.values() if pairs[0].split == split}
        assert kinds == {"plain", "synonym", "use", "misspelling", "attribute", "brand", "accessory"}


def test_every_intent_is_in_one_split_with_all_its_wordings(by_query: dict[str, list[Pair]]) -> None:
    vocabulary = load_vocabulary()
    intents = build_intents(vocabulary, build_items(vocabulary, seed=7), seed=7)
    identities = [(intent.product_type.name, intent.want, intent.detail) for intent in intents]
    assert len(set(identities)) == len(identities)
    worded = 0
    for intent, split in zip(intents, assign_splits(intents, seed=7), strict=True):
        worded += len(intent.queries)
        assert {by_query[query.text][0].split for query in intent.queries} == {split}
    assert worded == len(by_query)
    assert sum(len(intent.queries) > 1 for intent in intents) > 150


def test_deep_learning_books_are_found_by_meaning_only(sample: Sample, by_query: dict[str, list[Pair]]) -> None:
    types = {product.product_id: product.product_type for product in sample.products}
    pairs = by_query["deep learning books"]
    assert {pair.split for pair in pairs} == {"test"}
    relevant = [pair for pair in pairs if pair.relevance_label == 1]
    assert len(relevant) >= 5
    assert {types[pair.product_id] for pair in relevant} == {"machine learning book"}
    assert not any("deep" in pair.product_title.lower() for pair in relevant)
    irrelevant = " / ".join(pair.product_title for pair in pairs if pair.grade == 0).lower()
    assert "deep" in irrelevant


def test_every_query_has_negatives_that_are_related_and_negatives_that_are_not(by_query: dict[str, list[Pair]]) -> None:
    for query, pairs in by_query.items():
        grades = Counter(pair.grade for pair in pairs)
        assert grades[1] >= 1, query
        assert grades[0] >= 3, query


def test_attribute_queries_are_answered_by_that_value_only(by_query: dict[str, list[Pair]]) -> None:
    vocabulary = load_vocabulary()
    items = build_items(vocabulary, seed=7)
    values = {item.product.product_id: (item.listed_for, item.values) for item in items}
    checked = 0
    for intent in build_intents(vocabulary, items, seed=7):
        if intent.want != "attribute" or intent.detail is None:
            continue
        attribute, value = intent.detail
        for pair in (pair for query in intent.queries for pair in by_query[query.text]):
            listed_for, has = values[pair.product_id]
            is_right = listed_for == intent.product_type.name and has.get(attribute) == value
            assert is_right == (pair.grade == 3), pair
            checked += 1
    assert checked > 2000


def test_some_queries_share_no_word_with_what_they_find(by_query: dict[str, list[Pair]]) -> None:
    def words(text: str) -> set[str]:
        return set(text.lower().replace(",", " ").split())

    without = [
        query
        for query, pairs in by_query.items()
        if not any(words(query) & words(pair.product_title) for pair in pairs if pair.grade == 3)
    ]
    assert len(without) >= 100


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from trident_train.data.sample import write_sample\n"
        "write_sample(pathlib.Path(sys.argv[1]))"
    )
    for hash_seed in ("0", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / hash_seed)], env=environment, check=True, timeout=60
        )
    for name in ("products.csv", "pairs.csv"):
        first = (tmp_path / "0" / name).read_bytes()
        assert first == (tmp_path / "4242" / name).read_bytes()
        assert len(first) > 100_000


def test_another_seed_gives_another_sample(sample: Sample) -> None:
    other = generate(seed=8)
    assert other.pairs != sample.pairs
    assert len(other.products) == len(sample.products)


def test_the_written_files_are_read_by_training_and_export(tmp_path: Path, sample: Sample) -> None:
    paths = write_sample(tmp_path / "new" / "sample")
    pairs = read_pairs(paths.pairs)
    catalogue = read_catalogue(paths.products)
    assert pairs.queries == [pair.query for pair in sample.pairs]
    assert pairs.titles == [pair.product_title for pair in sample.pairs]
    assert pairs.labels.tolist() == [pair.relevance_label for pair in sample.pairs]
    assert pairs.grades.tolist() == [pair.grade for pair in sample.pairs]
    assert pairs.splits == [pair.split for pair in sample.pairs]
    assert catalogue.titles == [product.product_title for product in sample.products]
    with paths.products.open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["product_id", "product_title", "brand", "department", "product_type"]


def test_an_earlier_sample_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "products.csv").write_text("half of an old file", encoding="utf-8")
    paths = write_sample(folder)
    assert paths.products.read_text(encoding="utf-8").startswith("product_id,product_title,")
    assert sorted(entry.name for entry in folder.iterdir()) == ["pairs.csv", "products.csv"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["sample"]
    before = paths.pairs.read_bytes()
    assert write_sample(folder).pairs.read_bytes() == before


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(DataError, match=r"folder of its own, got 'thesis.txt' among 1 other"):
        write_sample(tmp_path)
    with pytest.raises(DataError, match=r"folder of its own, got the file .*thesis.txt"):
        write_sample(tmp_path / "thesis.txt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def _with_first_type(vocabulary: Vocabulary, product_type: ProductType) -> Vocabulary:
    first, *others = vocabulary.departments
    changed = replace(first, types=(product_type, *first.types[1:]))
    return replace(vocabulary, departments=(changed, *others))


def test_a_vocabulary_that_names_what_is_not_defined_is_refused() -> None:
    vocabulary = load_vocabulary()
    first = vocabulary.departments[0].types[0]
    with pytest.raises(DataError, match=r"type 'coffe table' of sample type 'stroller' .*did you mean 'coffee table'"):
        check_vocabulary(_with_first_type(vocabulary, replace(first, siblings=("coffe table",))))
    with pytest.raises(DataError, match=r"department 'toyz' .*did you mean 'toys'"):
        check_vocabulary(_with_first_type(vocabulary, replace(first, lookalikes=(("toyz", "Pram"),))))
    with pytest.raises(DataError, match=r"attribute value 'colour\.grene' .*did you mean 'colour\.green'"):
        check_vocabulary(_with_first_type(vocabulary, replace(first, attributes=(("colour", ("grene",)),))))
    with pytest.raises(DataError, match=r"must be unique, got twice: couch"):
        check_vocabulary(_with_first_type(vocabulary, replace(first, name="couch")))
