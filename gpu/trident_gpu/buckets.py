"""The shapes that a GPU runs: few, so that each has a CUDA graph of its own, and near enough to waste little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trident.errors import ModelError

ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64)  # the last is the most that runs together

Shape = tuple[int, int]  # rows, tokens


@dataclass(frozen=True, kw_only=True)
class Run:
    """Rows that run together, padded to a shape."""

    numbers: tuple[int, ...]  # of the rows
    shape: Shape


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Rows and tokens that batches are padded to, both ascending."""

    rows: tuple[int, ...] = ROWS
    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the order."""
        for name, sizes in (("rows", self.rows), ("tokens", self.tokens)):
            if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
                raise ModelError(f"buckets of {name} must be >= 1 and ascend, got {list(sizes)}")

    @classmethod
    def of_lengths(cls, query_tokens: int, most_tokens: int) -> Buckets:
        """Return buckets for queries of a usual length and for longer texts, twice as long each up to the longest.

        Args:
            query_tokens: That nearly all queries fit into; the generation takes it from its queries.
            most_tokens: Of the longest text.
        """
        tokens = [min(query_tokens, most_tokens)]
        while tokens[-1] < most_tokens:
            tokens.append(min(2 * tokens[-1], most_tokens))
        return cls(tokens=tuple(tokens))

    def shapes(self) -> list[Shape]:
        """Return every shape, the largest first: what the smaller ones need then fits into its memory."""
        return [(rows, tokens) for tokens in reversed(self.tokens) for rows in reversed(self.rows)]

    def runs(self, lengths: Sequence[int]) -> list[Run]:
        """Return the runs of N rows, each row in one of them.

        Args:
            lengths: Tokens of each row, at least one.

        Raises:
            ModelError: If a row is empty or longer than the longest bucket.
        """
        in_bucket: dict[int, list[int]] = {}
        for number, length in enumerate(lengths):
            if not 1 <= length <= self.tokens[-1]:
                raise ModelError(
                    f"every row must have 1 to {self.tokens[-1]} tokens, got {length} in row {number} of {len(lengths)}"
                )
            in_bucket.setdefault(_smallest(self.tokens, length), []).append(number)
        most = self.rows[-1]
        return [
            Run(numbers=tuple(part), shape=(_smallest(self.rows, len(part)), tokens))
            for tokens, numbers in sorted(in_bucket.items())
            for part in (numbers[start : start + most] for start in range(0, len(numbers), most))
        ]


def _smallest(sizes: Sequence[int], wanted: int) -> int:
    return next(size for size in sizes if size >= wanted)
