"""The file of arrays: what was written comes back mapped, and damage is named; rows of a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trident.attributes.arrays import ArrayFile, ArrayWriter
from trident.attributes.attributes import Attributes
from trident.attributes.row_sets import rows_of
from trident.errors import GenerationError


def write(path: Path) -> None:
    with ArrayWriter(path) as writer:
        writer.add("a", np.arange(5, dtype=np.uint32))
        writer.add("größe/b", np.array([1.5, np.nan]))
        writer.add("none", np.zeros(0, dtype=np.int64))


def test_arrays_come_back(tmp_path: Path) -> None:
    write(tmp_path / "a.bin")
    write(tmp_path / "b.bin")
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    found = ArrayFile(tmp_path / "a.bin")
    assert found["a"].tolist() == [0, 1, 2, 3, 4]
    assert found["größe/b"][0] == 1.5
    assert len(found["none"]) == 0
    with pytest.raises(GenerationError, match=r"are damaged: they have no 'c'; export again$"):
        found["c"]


@pytest.mark.parametrize("keep", [0, 4, 8, 40, -1, -9])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "a.bin")
    whole = (tmp_path / "a.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(whole[:keep])
    with pytest.raises(GenerationError, match=r"^attributes .*a.bin are missing or damaged: .*; export again$"):
        ArrayFile(tmp_path / "a.bin")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"attributes.bin are missing or damaged"):
        Attributes.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.03, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("count", [0, 1, 70, 65_536, 65_537, 200_003])
def test_rows_are_those_of_the_mask(count: int, share: float) -> None:
    mask = np.random.default_rng(count).random(count) < share
    mask[: count // 3] &= share > 0.9  # containers of numbers, of bits and of nothing
    found = rows_of(mask)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, np.flatnonzero(mask))
