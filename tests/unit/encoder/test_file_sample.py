"""A sample of a large file tells one that was cut off, swapped or filled with zeros from the one it was taken of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trident.encoder import file_sample
from trident.encoder.file_sample import sample_sha256

SIZE = 4_000_000


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that counts as a large one."""
    monkeypatch.setattr(file_sample, "WHOLE_BYTES", 2**20)
    monkeypatch.setattr(file_sample, "END_BYTES", 2**16)
    path = tmp_path / "index"
    path.write_bytes(os.urandom(SIZE))
    return path


def changed(path: Path, start: int, content: bytes) -> str:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)
    return sample_sha256(path)


def test_the_sample_is_the_same_as_long_as_the_file_is(large: Path) -> None:
    before = sample_sha256(large)
    assert sample_sha256(large) == before
    assert sample_sha256(large.rename(large.with_name("other"))) == before


@pytest.mark.parametrize("left", [0, 1, SIZE // 2, SIZE - 1])
def test_a_file_that_was_cut_off_is_seen(large: Path, left: int) -> None:
    before = sample_sha256(large)
    os.truncate(large, left)
    assert sample_sha256(large) != before
    os.truncate(large, SIZE)  # filled up with zeros, as after a power cut
    assert sample_sha256(large) != before


@pytest.mark.parametrize("start", [0, 2**16 - 1, SIZE // 3, SIZE - 40_000])
def test_a_file_that_was_written_over_is_seen(large: Path, start: int) -> None:
    before = sample_sha256(large)
    assert changed(large, start, os.urandom(40_000)) != before


def test_a_file_of_another_content_is_seen(large: Path) -> None:
    before = sample_sha256(large)
    large.write_bytes(os.urandom(SIZE))
    assert sample_sha256(large) != before


def test_every_byte_of_a_small_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(bytes(1000))
    found = {sample_sha256(path), *(changed(path, start, b"\1") for start in range(1000))}
    assert len(found) == 1001
