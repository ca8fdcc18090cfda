"""The different tokens of a catalogue, in order, and the number of each; mapped, and frequent ones kept at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trident.attributes.arrays import ArrayFile, ArrayWriter

REMEMBERED = 200_000  # tokens that were looked for, with their numbers


class Vocabulary:
    """V texts, in the order of their UTF-8, without a Python object each.

    Args:
        text: All texts, one after the other.
        ends: (V,) int64, where each ends.
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        """Keep both."""
        self._text, self._ends = text, ends
        self._found: dict[str, int] = {}

    @classmethod
    def of(cls, texts: Sequence[str]) -> Vocabulary:
        """Return the vocabulary of different texts; they are put in order."""
        encoded = sorted(text.encode() for text in texts)
        ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    @classmethod
    def read(cls, arrays: ArrayFile, name: str) -> Vocabulary:
        """Return what ``write`` wrote under a name."""
        return cls(arrays[f"{name}/text"], arrays[f"{name}/ends"])

    def write(self, writer: ArrayWriter, name: str) -> None:
        """Write it under a name."""
        writer.add(f"{name}/text", self._text)
        writer.add(f"{name}/ends", self._ends)

    def __len__(self) -> int:
        """Return V."""
        return len(self._ends)

    def __getitem__(self, place: int) -> str:
        """Return one of the texts."""
        return self._encoded(place).decode()

    def all(self) -> list[str]:
        """Return all texts."""
        text, ends = self._text.tobytes(), self._ends.tolist()
        return [text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]

    def find(self, text: str) -> int:
        """Return the number of a text, -1 where it is none of them."""
        known = self._found.get(text)
        if known is None:
            wanted = text.encode("utf-8", errors="surrogatepass")
            place = self._from(wanted)
            known = place if place < len(self) and self._encoded(place) == wanted else -1
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            self._found[text] = known
        return known

    def with_prefix(self, prefix: str) -> range:
        """Return the numbers of the texts that begin so."""
        wanted = prefix.encode("utf-8", errors="surrogatepass")
        return range(self._from(wanted), self._from(wanted + b"\xff"))  # which no UTF-8 has

    def _from(self, wanted: bytes) -> int:
        """Return the number of the first text that does not stand before another."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._encoded(middle) < wanted else (low, middle)
        return low

    def _encoded(self, place: int) -> bytes:
        start = int(self._ends[place - 1]) if place else 0
        return self._text[start : int(self._ends[place])].tobytes()
