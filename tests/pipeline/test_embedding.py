"""Embedding a catalogue: the same vectors as one by one, going on after a kill, in a memory that does not grow."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from trident.encoder.served_encoder import ServedEncoder, load_encoder
from trident.encoder.tokenization import TextTokenizer
from trident.generation.generation import Generation
from trident_export.catalogue.embedding import (
    BATCH_ROWS,
    SAVED_EVERY,
    VECTORS_FILE,
    EmbeddingStore,
    embed_catalogue,
    tokenize_titles,
)

PROGRESS_FILE = "progress.0.json"

THINGS = ("sofa", "lamp", "kettle", "novel")


@pytest.fixture(params=["on", "off"])
def encoder(generation: Generation, tokenizer: TextTokenizer, request: pytest.FixtureRequest) -> ServedEncoder:
    """What embeds the catalogue of an export: the kernels, and the graph where they do not run the model."""
    return load_encoder(
        generation.cpu_graph("fp32"),
        generation.folder / "encoder",
        tokenizer,
        fingerprint=generation.manifest.encoder_fingerprint,
        kernels=request.param,
    )


def titles(count: int) -> list[str]:
    return [f"{THINGS[number % 4]} {' x' * (number % 9)} {number // 3}" for number in range(count)]


class StoppedError(Exception):
    """Stands for the end of a process."""


def embed(
    names: list[str],
    tokenizer: TextTokenizer,
    encoder: ServedEncoder,
    folder: Path,
    *,
    stop_at: int | None = None,
    key: str = "a",
) -> tuple[np.ndarray, list[int]]:
    done: list[int] = []

    def progress(items: int) -> None:
        done.append(items)
        if stop_at is not None and sum(done) >= stop_at:
            raise StoppedError

    store = EmbeddingStore(folder, key)
    return embed_catalogue(names, tokenizer, encoder, store, threads=2, progress=progress), done


def test_vectors_equal_those_of_single_titles(tokenizer: TextTokenizer, encoder: ServedEncoder, tmp_path: Path) -> None:
    names = [*titles(400), "sofa", "sofa"]
    found, done = embed(names, tokenizer, encoder, tmp_path)
    assert (found.dtype, found.shape) == (np.float32, (402, encoder.dimension))
    assert sum(done) == 402
    for row in (0, 7, 133, 399, 400):
        alone = encoder.embed_ids(tokenizer.token_ids([names[row]], "product"), pad_id=tokenizer.pad_id)[0]
        np.testing.assert_allclose(found[row], alone, atol=1e-6)
    np.testing.assert_array_equal(found[400], found[401])  # equal titles are embedded once


def test_a_stopped_one_goes_on_and_ends_with_the_same_bits(
    tokenizer: TextTokenizer, encoder: ServedEncoder, tmp_path: Path
) -> None:
    names = titles(3 * SAVED_EVERY * BATCH_ROWS // 2)
    whole, _ = embed(names, tokenizer, encoder, tmp_path / "whole")
    with pytest.raises(StoppedError):
        embed(names, tokenizer, encoder, tmp_path / "cut", stop_at=len(names) - BATCH_ROWS)
    saved = json.loads((tmp_path / "cut" / PROGRESS_FILE).read_text())["done"]
    assert saved > 0  # batches
    assert saved % SAVED_EVERY == 0
    again, done = embed(names, tokenizer, encoder, tmp_path / "cut")
    assert done[0] >= saved  # products that are not embedded again
    assert sum(done) == len(names)
    np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize("damage", ["key", "titles", "progress", "vectors"])
def test_what_is_of_something_else_is_not_used(
    tokenizer: TextTokenizer, encoder: ServedEncoder, tmp_path: Path, damage: str
) -> None:
    names = titles(50)
    embed(names, tokenizer, encoder, tmp_path)
    if damage == "progress":
        (tmp_path / PROGRESS_FILE).write_text("{")
    if damage == "vectors":
        path = tmp_path / VECTORS_FILE
        path.write_bytes(path.read_bytes()[:100])
    other = titles(49) if damage == "titles" else names
    found, done = embed(other, tokenizer, encoder, tmp_path, key="b" if damage == "key" else "a")
    assert done[0] == 0
    fresh, _ = embed(other, tokenizer, encoder, tmp_path / "fresh")
    np.testing.assert_array_equal(found, fresh)


def test_equal_titles_are_known_and_the_longest_come_first(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    names = ["lamp", "red sofa lamp kettle", "lamp", "LAMP", "sofa lamp"]
    tokens = tokenize_titles(names, tokenizer, tmp_path / "tokens.i32")
    assert tokens.same_as.tolist() == [0, 1, 0, 0, 4]
    assert tokens.first.tolist() == [1, 4, 0]
    assert [tokens.row(row).tolist() for row in range(5)] == tokenizer.token_ids(names, "product")


def test_memory_does_not_grow_with_the_catalogue(
    tokenizer: TextTokenizer, encoder: ServedEncoder, tmp_path: Path
) -> None:
    peaks = []
    for count in (10_000, 40_000):
        names = titles(count)
        tracemalloc.start()
        embed(names, tokenizer, encoder, tmp_path / str(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 30_000 < 200  # bytes; an embedding of MiniLM has 1,536
