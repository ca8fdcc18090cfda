"""The files of a lexical index: arrays that are mapped, and a record of what they are and which catalogue's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from trident.attributes.arrays import ArrayFile, ArrayWriter
from trident.config import from_table, to_table
from trident.encoder.file_sample import sample_sha256
from trident.errors import ConfigError, VectorIndexError
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.postings import Postings
from trident.lexical.vocabulary import Vocabulary

ARRAYS_FILE = "lexical.arrays"
RECORD_FILE = "lexical.json"
LEXICAL_FORMAT = 1
REMEDY = "export again"


@dataclass(frozen=True, kw_only=True)
class LexicalRecord:
    """The content of ``lexical.json``."""

    format: int  # LEXICAL_FORMAT
    config: LexicalConfig
    count: int  # products
    mean_length: float  # of their tokens
    catalogue: str  # sample of the catalogue's file, see trident.encoder.file_sample
    bytes: int  # of the arrays
    sample: str  # of them
    stems: str = ""  # hash of those of its words: releases of Snowball differ in them; empty: not noted then


def save_lexical(index: LexicalIndex, folder: Path, catalogue: Path) -> None:
    """Write an index; equal ones give equal bytes.

    Args:
        index: The index.
        folder: Of the retriever.
        catalogue: The file whose rows are those of the index.
    """
    path = folder / ARRAYS_FILE
    with ArrayWriter(path) as writer:
        index.vocabulary.write(writer, "tokens")
        index.words.write(writer, "words")
        writer.add("word_counts", index.word_counts)
        writer.add("rows", index.postings.rows)
        writer.add("scores", index.postings.scores)
        writer.add("starts", index.postings.starts)
    record = LexicalRecord(
        format=LEXICAL_FORMAT,
        config=index.config,
        count=index.count,
        mean_length=index.postings.mean_length,
        catalogue=sample_sha256(catalogue),
        bytes=path.stat().st_size,
        sample=sample_sha256(path),
        stems=_stems(index),
    )
    text = json.dumps(to_table(record), indent=2, sort_keys=True)
    (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")


def load_lexical(folder: Path, catalogue: Path) -> LexicalIndex:
    """Return what ``save_lexical`` wrote, mapped, held against its record and the catalogue.

    Raises:
        VectorIndexError: If a file is missing, cut off or changed, made by another analyzer or by a PyStemmer that
            stems its words otherwise, or of another catalogue.
    """
    record = read_lexical_record(folder)
    path = folder / ARRAYS_FILE
    size = path.stat().st_size if path.is_file() else 0
    if size != record.bytes:
        raise VectorIndexError(f"lexical index {path} must have {record.bytes:,} bytes, got {size:,}; {REMEDY}")
    if sample_sha256(path) != record.sample:
        raise VectorIndexError(f"lexical index {path} was changed after it was made; {REMEDY}")
    if sample_sha256(catalogue) != record.catalogue:
        raise VectorIndexError(f"lexical index {path} must be of the catalogue {catalogue}, got another's; {REMEDY}")
    arrays = ArrayFile(path, "lexical index")
    postings = Postings(arrays["rows"], arrays["scores"], arrays["starts"], record.count, record.mean_length)
    tokens, words = Vocabulary.read(arrays, "tokens"), Vocabulary.read(arrays, "words")
    _check(path, postings, tokens)
    index = LexicalIndex(record.config, tokens, postings, words, arrays["word_counts"])
    if record.stems and record.stems != _stems(index):
        raise VectorIndexError(
            f"lexical index {path} must have the stems that PyStemmer {version('pystemmer')} gives its words, "
            f"got those of another version, which queries would miss; {REMEDY}, or install that version"
        )
    return index


def read_lexical_record(folder: Path) -> LexicalRecord:
    """Return the record of a folder's lexical index.

    Raises:
        VectorIndexError: If it is missing, damaged, of another format or of another analyzer.
    """
    path = folder / RECORD_FILE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(table, dict) and table.get("format") != LEXICAL_FORMAT:
            raise VectorIndexError(
                f"lexical index format must be {LEXICAL_FORMAT}, got {table.get('format')!r} ({path}); {REMEDY}"
            )
        record: LexicalRecord = from_table(LexicalRecord, table, where=str(path))
    except OSError as error:
        raise VectorIndexError(f"lexical index {path} cannot be read: {error.strerror}; {REMEDY}") from error
    except (ValueError, ConfigError) as error:
        raise VectorIndexError(f"lexical index {path} is damaged: {error}; {REMEDY}") from error
    return record


def _stems(index: LexicalIndex) -> str:
    """Return a hash of the stems of an index's words, by the stemmer that is installed."""
    return hashlib.sha256("\n".join(map(index.analyzer.stem, index.words.all())).encode()).hexdigest()


def _check(path: Path, postings: Postings, tokens: Vocabulary) -> None:
    starts, rows = postings.starts, postings.rows
    fits = len(starts) == len(tokens) + 1 and len(rows) == len(postings.scores)
    fits = fits and starts[0] == 0 and starts[-1] == len(rows) and bool((np.diff(starts) >= 0).all())
    if not fits or (len(rows) and not 0 <= rows.min() <= rows.max() < postings.count):
        raise VectorIndexError(f"lexical index {path} must have rows of {postings.count:,} products alone; {REMEDY}")
