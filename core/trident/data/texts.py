"""Many texts without a Python object each: where they end, and one run of UTF-8 bytes, in memory or mapped from a file.

Half a million ids and titles are 150 MB as Python strings, and 45 MB so; mapped, they cost what is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

FEW_ROWS = 48  # a lone query's 10: slices take 4 microseconds, Arrow's call 11 (docs/log/serving.md, 2026-11-30)
BLOCK_ROWS = 65_536  # texts that are Python strings at a time
HASH_BITS = 0xFFFFFFFF
KIND = pa.large_string()  # 64-bit offsets: one run of more than 2 GiB


class Texts(Sequence[str]):
    """N texts; a row is a str when it is asked for.

    Args:
        array: Of Arrow's ``large_string``, without nulls.
    """

    def __init__(self, array: pa.LargeStringArray) -> None:
        """Keep the array; see the class for the argument."""
        assert array.type == KIND
        assert not array.null_count
        self.array = array
        self._binary = array.cast(pa.large_binary())  # the same bytes
        _, offsets, data = array.buffers()
        size = len(array) + 1
        begin = 8 * array.offset
        self._offsets: NDArray[np.int64] = (
            np.frombuffer(offsets[begin:], np.int64, size) if len(array) else np.zeros(1, dtype=np.int64)
        )
        self._data = memoryview(b"" if data is None else data)

    @classmethod
    def of(cls, texts: Iterable[str] | pa.ChunkedArray) -> Texts:
        """Return texts, or a column of them, in this form; what is in it already is returned as it is.

        Args:
            texts: Strings, or a column of strings without nulls.
        """
        if isinstance(texts, Texts):
            return texts
        if isinstance(texts, pa.ChunkedArray):
            chunks = [chunk.cast(KIND) for chunk in texts.chunks]
        else:
            rows = iter(texts)
            chunks = [pa.array(block, KIND) for block in iter(lambda: list(islice(rows, BLOCK_ROWS)), [])]
        whole = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks or [pa.array([], KIND)])
        return cls(whole)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.array)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        """Return a text, or those of a slice as a list."""
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            if step == 1:
                found: list[str] = self.array[start : max(start, stop)].to_pylist()
                return found
            return [self[each] for each in range(start, stop, step)]
        place = row + len(self) if row < 0 else row
        if not 0 <= place < len(self):
            raise IndexError(f"row must be one of {len(self)}, got {row}")
        return str(self._data[self._offsets[place] : self._offsets[place + 1]], "utf-8")

    def encoded(self, row: int) -> bytes:
        """Return a text as UTF-8."""
        return self._data[self._offsets[row] : self._offsets[row + 1]].tobytes()

    def __iter__(self) -> Iterator[str]:
        """Yield every text; few of them are there at a time."""
        for start in range(0, len(self), BLOCK_ROWS):
            yield from self[start : start + BLOCK_ROWS]

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same texts in the same order."""
        if isinstance(other, Texts):
            return bool(self.array.equals(other.array))
        if not isinstance(other, list | tuple):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Return the first few texts and how many there are."""
        return f"<{len(self):,} texts, {', '.join(map(repr, self[:2]))}{', …' if len(self) > 2 else ''}>"

    def bytes_at(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Return the UTF-8 of rows, an object array of their shape; empty for row -1, which is none."""
        places = rows.ravel()
        if len(places) > FEW_ROWS and places.min(initial=0) >= 0:  # no gaps, as nearly always: Arrow makes the objects
            taken = self._binary.take(pa.array(places))
            return np.asarray(taken.to_numpy(zero_copy_only=False)).reshape(rows.shape)
        ends = self._offsets[places + 1]  # of row -1: the first offset
        starts = np.where(places < 0, ends, self._offsets[places])
        data = self._data
        found = np.empty(len(places), dtype=np.object_)
        found[:] = [data[start:end].tobytes() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        return found.reshape(rows.shape)

    def take(self, rows: Iterable[int]) -> Texts:
        """Return some of the texts, in the order of the rows."""
        return Texts(self.array.take(pa.array(rows, pa.int64())))

    def rows_of(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the first row of each text that is there."""
        wanted = pa.array(list(dict.fromkeys(texts)), KIND)
        rows = np.flatnonzero(np.asarray(pc.is_in(self.array, value_set=wanted)))
        found: dict[str, int] = {}
        for text, row in zip(self.array.take(pa.array(rows)).to_pylist(), rows.tolist(), strict=True):
            found.setdefault(text, row)
        return found

    def first_rows(self) -> NDArray[np.int64]:
        """Return the first row that has the text of each row, (N,)."""
        encoded = self.array.dictionary_encode()
        codes = np.asarray(encoded.indices)  # in the order in which texts appear
        if len(encoded.dictionary) == len(self):
            return np.arange(len(self), dtype=np.int64)
        first = np.flatnonzero(np.diff(np.maximum.accumulate(codes), prepend=-1))  # (U,) where a new one appears
        rows: NDArray[np.int64] = first[codes].astype(np.int64)
        return rows

    def longest(self) -> tuple[int, int]:
        """Return the row of the longest text and its bytes; (0, 0) where there is none."""
        lengths: NDArray[Any] = np.diff(self._offsets)
        row = int(lengths.argmax()) if len(lengths) else 0
        return row, int(lengths[row]) if len(lengths) else 0


class RowsByText:
    """The rows of texts of which none comes twice, found one at a time; eight bytes a row.

    By the hash of a text: a live catalogue looks up each id of an update several times, and a walk through sorted texts
    took four times as long (docs/log/live.md, 2026-11-30).
    """

    def __init__(self, texts: Texts) -> None:
        """Sort the rows by the hashes of their texts."""
        self._texts = texts
        hashes = np.fromiter((hash(texts.encoded(row)) & HASH_BITS for row in range(len(texts))), np.uint32, len(texts))
        self._order: NDArray[np.uint32] = np.argsort(hashes, kind="stable").astype(np.uint32)
        self._hashes = hashes[self._order]

    def row(self, text: str) -> int | None:
        """Return the row of a text; None: it is none of them."""
        wanted = text.encode("utf-8", errors="surrogatepass")
        own = np.uint32(hash(wanted) & HASH_BITS)
        for place in range(int(self._hashes.searchsorted(own)), len(self._hashes)):
            if self._hashes[place] != own:
                break
            row = int(self._order[place])
            if self._texts.encoded(row) == wanted:
                return row
        return None
