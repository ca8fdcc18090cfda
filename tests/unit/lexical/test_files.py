"""The files of a lexical index: the same answers after a reload, and every kind of damage refused in a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import Stemmer

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.encoder.file_sample import sample_sha256
from trident.errors import GenerationError, VectorIndexError
from trident.lexical.files import ARRAYS_FILE, RECORD_FILE, load_lexical, save_lexical
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.postings import Postings


def catalogue_of(titles: Sequence[str]) -> Catalogue:
    ids = [f"p{row}" for row in range(len(titles))]
    return Catalogue(ids, list(titles), pa.table({"row": ids}))


@pytest.fixture
def folder(tmp_path: Path, titles: Sequence[str], lexical: LexicalIndex) -> Path:
    catalogue_of(titles).save(tmp_path / CATALOGUE_FILE)
    save_lexical(lexical, tmp_path, tmp_path / CATALOGUE_FILE)
    return tmp_path


def test_a_loaded_index_answers_as_the_one_that_was_saved(
    folder: Path, titles: Sequence[str], lexical: LexicalIndex
) -> None:
    loaded = load_lexical(folder, folder / CATALOGUE_FILE)
    assert (loaded.config, loaded.count, loaded.words.all()) == (lexical.config, 400, lexical.words.all())
    for title in titles[:40]:
        for one, other in zip(loaded.search(title, 9), lexical.search(title, 9), strict=True):
            assert one.tolist() == other.tolist()
        assert loaded.codes(title) == lexical.codes(title)


def test_equal_indexes_are_equal_bytes(folder: Path, tmp_path_factory: pytest.TempPathFactory, titles) -> None:
    other = tmp_path_factory.mktemp("other")
    save_lexical(
        LexicalIndex.build(titles, load_lexical(folder, folder / CATALOGUE_FILE).config), other, folder / CATALOGUE_FILE
    )
    for name in (ARRAYS_FILE, RECORD_FILE):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def cut_off(folder: Path) -> None:
    content = (folder / ARRAYS_FILE).read_bytes()
    (folder / ARRAYS_FILE).write_bytes(content[: len(content) // 2])


def changed(folder: Path) -> None:
    content = bytearray((folder / ARRAYS_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / ARRAYS_FILE).write_bytes(content)


def of_another_catalogue(folder: Path) -> None:
    catalogue_of([f"other {row}" for row in range(400)]).save(folder / CATALOGUE_FILE)


def rewritten(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        table = json.loads((folder / RECORD_FILE).read_text("utf-8"))
        for key, value in changes.items():
            *parents, name = key.split("__")
            place = table
            for parent in parents:
                place = place[parent]
            place[name] = value
        (folder / RECORD_FILE).write_text(json.dumps(table), "utf-8")

    return change


@pytest.mark.parametrize(
    ("sabotage", "line"),
    [
        (lambda folder: (folder / ARRAYS_FILE).unlink(), r"must have [\d,]+ bytes, got 0; export again"),
        (cut_off, r"lexical.arrays must have [\d,]+ bytes, got [\d,]+; export again"),
        (changed, r"lexical.arrays was changed after it was made; export again"),
        (of_another_catalogue, r"must be of the catalogue .*catalogue.arrow, got another's; export again"),
        (rewritten(config__analyzer__version=2), r"the analyzer's version must be 1, got 2"),
        (rewritten(config__analyzer__language="elvish"), r"is damaged: .*language"),
        (rewritten(format=9), r"lexical index format must be 1, got 9"),
        (rewritten(count=100), r"must have rows of 100 products alone"),
        (lambda folder: (folder / RECORD_FILE).write_text("{", "utf-8"), r"lexical.json is damaged"),
        (lambda folder: (folder / RECORD_FILE).unlink(), r"lexical.json cannot be read: No such file"),
    ],
)
def test_damage_is_refused_in_a_line(folder: Path, sabotage: Callable[[Path], None], line: str) -> None:
    sabotage(folder)
    with pytest.raises(VectorIndexError, match=line):
        load_lexical(folder, folder / CATALOGUE_FILE)


def test_words_that_are_stemmed_otherwise_are_refused(tmp_path: Path) -> None:
    titles = ["a generously wide chair", "a chair"]
    catalogue = tmp_path / CATALOGUE_FILE
    catalogue_of(titles).save(catalogue)
    index = LexicalIndex.build(titles, LexicalConfig())
    save_lexical(index, tmp_path, catalogue)
    assert load_lexical(tmp_path, catalogue).count == 2
    stems = Stemmer.Stemmer("porter").stemWords(index.words.all())  # as another release of PyStemmer has other stems
    assert "gener" in stems
    assert index.analyzer.stem("generously") == "generous"
    rewritten(stems=hashlib.sha256("\n".join(stems).encode()).hexdigest())(tmp_path)
    line = r"must have the stems that PyStemmer [\d.]+ gives its words, got those of another version.*; export again"
    with pytest.raises(VectorIndexError, match=line):
        load_lexical(tmp_path, catalogue)


def test_an_index_that_does_not_tell_its_stems_is_taken(folder: Path, lexical: LexicalIndex) -> None:
    table = json.loads((folder / RECORD_FILE).read_text("utf-8"))
    del table["stems"]
    (folder / RECORD_FILE).write_text(json.dumps(table), "utf-8")
    assert load_lexical(folder, folder / CATALOGUE_FILE).count == lexical.count


def test_arrays_that_are_none_are_refused(folder: Path) -> None:
    (folder / ARRAYS_FILE).write_bytes(b"0" * 1000)
    rewritten(bytes=1000, sample=sample_sha256(folder / ARRAYS_FILE))(folder)
    with pytest.raises(GenerationError, match=r"lexical index .* are missing or damaged: it begins or ends otherwise"):
        load_lexical(folder, folder / CATALOGUE_FILE)


def test_postings_that_do_not_fit_their_tokens_are_refused(folder: Path, lexical: LexicalIndex) -> None:
    fewer = Postings(lexical.postings.rows, lexical.postings.scores, lexical.postings.starts[:-1], 400, 1.0)
    broken = LexicalIndex(lexical.config, lexical.vocabulary, fewer, lexical.words, lexical.word_counts)
    save_lexical(broken, folder, folder / CATALOGUE_FILE)
    with pytest.raises(VectorIndexError, match="must have rows of 400 products alone"):
        load_lexical(folder, folder / CATALOGUE_FILE)
    backwards = np.flip(lexical.postings.starts).copy()
    save_lexical(
        LexicalIndex(
            lexical.config,
            lexical.vocabulary,
            Postings(fewer.rows, fewer.scores, backwards, 400, 1.0),
            lexical.words,
            lexical.word_counts,
        ),
        folder,
        folder / CATALOGUE_FILE,
    )
    with pytest.raises(VectorIndexError, match="must have rows of 400 products alone"):
        load_lexical(folder, folder / CATALOGUE_FILE)
