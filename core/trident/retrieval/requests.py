"""Reads a request's tensors and says in one line what is wrong with them; the served models make it a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import NO_ATTRIBUTES, Attributes
from trident.encoder.text import Side
from trident.errors import DataError
from trident.retrieval.options import (
    LIKE,
    NO_OPTIONS,
    OF_RANKING,
    PLAIN,
    Page,
    RankingKnobs,
    SearchOptions,
    read_options,
    read_page,
)
from trident.retrieval.tensors import EF, EF_MAX, K_DEFAULT, K_MAX, MIN_SCORE, QUERY, QUERY_MAX_BYTES, SIDE, TEXT, K


@dataclass(frozen=True)
class SearchKnobs:
    """How many products a query wants, how hard to look, and what to leave out."""

    k: int = K_DEFAULT
    ef: int | None = None  # None: the index's own
    min_score: float | None = None  # None: everything
    page: Page | None = None  # None: the best products and nothing else
    ranking: RankingKnobs = PLAIN
    min_probability: float | None = None  # None: everything
    rerank: int | None = None  # None: as many as the generation says
    rerank_budget_ms: float | None = None  # None: what the generation says
    rules: bool = True  # whether merchandisers' rules hold
    text: str = ""  # what was typed, where that is known
    shows_later: bool = False  # whether a later page is cut out of what is found here, whatever ``page`` says
    corrected: str | None = None  # the same with words of the catalogue; None: as it was typed
    timed_for: str | None = None  # id of the request that asks how long the stages took; None: it does not ask

    @property
    def is_words(self) -> bool:
        """Whether there are words to search by: nothing is browsed, and no product stands instead."""
        return bool(self.text.strip()) and (self.page is None or (self.page.like is None and not self.page.browses))

    @property
    def shows_best(self) -> bool:
        """Whether the best products for words are shown, in their order: the first page, and nothing else sorts."""
        if self.shows_later or not self.is_words:
            return False
        return self.page is None or not (self.page.offset or self.page.sort)


def read_texts(values: NDArray[np.object_], name: str = QUERY, *, may_be_empty: Sequence[bool] = ()) -> list[str]:
    """Return the texts of a BYTES tensor.

    Args:
        values: (B, 1) object array of bytes.
        name: The tensor, for errors.
        may_be_empty: Of each row; none may be where that is empty.

    Raises:
        DataError: If a text is empty, too long or not UTF-8.
    """
    texts = []
    for row, value in enumerate(values.reshape(-1)):
        check_size(value, name)
        try:
            text = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError as error:
            raise DataError(f"{name} must be UTF-8, got {value[:20]!r} ({error.reason})") from error
        if not text.strip() and not (may_be_empty and may_be_empty[row]):
            raise DataError(f"{name} must not be empty, got {text!r}")
        texts.append(text)
    return texts


def check_size(value: bytes | str, name: str = QUERY) -> None:
    """Raise if a text is longer than a server takes.

    Args:
        value: In UTF-8, or text.
        name: The tensor, for errors.

    Raises:
        DataError: If it has too many bytes.
    """
    size = len(value.encode()) if isinstance(value, str) else len(value)
    if size > QUERY_MAX_BYTES:
        raise DataError(f"{name} must have at most {QUERY_MAX_BYTES:,} bytes, got {size:,}")


def read_sides(values: NDArray[np.object_] | None, count: int) -> list[Side]:
    """Return the side of each text of an optional BYTES tensor (B, 1); queries when it is absent.

    Raises:
        DataError: If a value is neither ``query`` nor ``product``.
    """
    if values is None:
        return ["query"] * count
    sides: list[Side] = []
    for value in values.reshape(-1):
        match value:
            case b"query" | "query":
                sides.append("query")
            case b"product" | "product":
                sides.append("product")
            case _:
                raise DataError(f"{SIDE} must be query or product, got {value!r}")
    return sides


def read_asked(
    texts: NDArray[np.object_], sides: NDArray[np.object_] | None, knobs: Sequence[SearchKnobs] = ()
) -> list[tuple[str, Side]]:
    """Return the texts of a BYTES tensor (B, 1), each with its side; one whose knobs have a page may be empty.

    Raises:
        DataError: As ``read_sides`` and ``read_texts``.
    """
    if texts.ndim != 2 or texts.shape[1] != 1:
        raise DataError(f"{TEXT} must be of shape (B, 1), got {tuple(texts.shape)}")
    of = read_sides(sides, len(texts))
    may_be_empty = [knob.page is not None for knob in knobs]
    return list(zip(read_texts(texts, name=of[0], may_be_empty=may_be_empty), of, strict=True))


def with_texts(knobs: Sequence[SearchKnobs], texts: Sequence[tuple[str, Side]]) -> list[SearchKnobs]:
    """Return knobs that know what was typed: without a query and without ``like``, a page browses.

    Raises:
        DataError: If there are both, or a page lies too deep.
    """
    return [_with_text(knob, text) for knob, (text, _) in zip(knobs, texts, strict=True)]


def _with_text(knob: SearchKnobs, text: str) -> SearchKnobs:
    if knob.page is None:
        return replace(knob, text=text)
    if text.strip() and knob.page.like is not None:
        raise DataError(f"{LIKE} stands instead of a query, got both: '{text[:60]}' and '{knob.page.like[:60]}'")
    page = replace(knob.page, browses=not text.strip() and knob.page.like is None)
    page.check_depth(knob.k)
    return replace(knob, page=page, text=text)


@dataclass(frozen=True)
class KnobTensors:
    """The optional tensors of a request that say how it is to be searched, (B, 1) each; None: not sent."""

    k: NDArray[np.int64] | None = None
    ef: NDArray[np.int64] | None = None
    min_score: NDArray[np.float32] | None = None
    options: NDArray[np.object_] | None = None
    request_id: str = ""  # which is no tensor


def read_knobs(tensors: KnobTensors, count: int, attributes: Attributes = NO_ATTRIBUTES) -> list[SearchKnobs]:
    """Return the knobs of each row of a request of ``count`` rows, over products that have some attributes.

    Raises:
        DataError: If a value is out of its range, or of another form.
    """
    sent = (tensors.k, tensors.ef, tensors.min_score)
    options = [NO_OPTIONS] * count if tensors.options is None else read_options(tensors.options, SearchOptions)
    if tensors.options is None and all(values is None for values in sent):
        return [SearchKnobs()] * count
    columns = [[None] * count if values is None else values.reshape(-1).tolist() for values in sent]
    pages = [read_page(each, attributes) if each.narrows else None for each in options]
    knobs = [_knobs(*row) for row in zip(*columns, pages, map(RankingKnobs.of, options), strict=True)]
    return [
        each if said == NO_OPTIONS else _with_options(each, said, tensors.request_id)
        for each, said in zip(knobs, options, strict=True)
    ]


def _with_options(knob: SearchKnobs, said: SearchOptions, request_id: str) -> SearchKnobs:
    """Return knobs with those options of the query that are no page's."""
    timed_for = request_id if said.timings else None
    return replace(knob, timed_for=timed_for, **{name: getattr(said, name) for name in OF_RANKING})


def _knobs(
    k: int | None, ef: int | None, min_score: float | None, page: Page | None, ranking: RankingKnobs
) -> SearchKnobs:
    if k is not None and not 1 <= k <= K_MAX:
        raise DataError(f"{K} must be 1 to {K_MAX}, got {k}")
    if ef is not None and not 1 <= ef <= EF_MAX:
        raise DataError(f"{EF} must be 1 to {EF_MAX}, got {ef}")
    if min_score is not None and not (math.isfinite(min_score) and -1 <= min_score <= 1):
        raise DataError(f"{MIN_SCORE} must be -1 to 1, a cosine, got {min_score}")
    return SearchKnobs(K_DEFAULT if k is None else k, ef, min_score, page, ranking)
