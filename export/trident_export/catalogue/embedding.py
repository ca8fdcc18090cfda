"""Embeds a catalogue: sorted by length, every core busy, written as it goes, and going on where a killed export was.

    FOLDER/
        tokens.0.i32      token ids of all titles, one after the other; one file a process
        vectors.npy       (N, D) float32, filled in from the longest title to the shortest
        progress.0.json   what the folder is of, and how many batches the process has done

Memory holds a few bytes a product (where its tokens are) and one batch a core, whatever the size of the catalogue.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from trident.encoder.tokenization import TextTokenizer, TokenBatch, pad
from trident.generation.staging import write_text

VECTORS_FILE = "vectors.npy"
TOKENIZED_AT_ONCE = 10_000
BATCH_TOKENS = 384  # a run on one core; 64 to 2048 were measured (docs/log/export.md)
BATCH_ROWS = 64
SAVED_EVERY = 64  # batches
SAVED_EVERY_S = 2.0  # at most: a small encoder does thousands of batches a second, and the disk is waited for

Batch = NDArray[np.int64]  # (B,) titles
Embedded = tuple[Batch, NDArray[np.float32]]  # and their embeddings (B, D)


class Embedder(Protocol):
    """What makes embeddings: a graph on one thread, or a model on a device."""

    @property
    def dimension(self) -> int:
        """D of the embeddings."""

    def embed(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return the embeddings (B, D) of a padded batch; called from several threads."""


@dataclass(frozen=True)
class Process:
    """One of the processes that share a catalogue; alone by default."""

    rank: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None  # for all of them

    @property
    def tokens_file(self) -> str:
        """Where its tokens are."""
        return f"tokens.{self.rank}.i32"

    @property
    def progress_file(self) -> str:
        """Where its progress is."""
        return f"progress.{self.rank}.json"


ALONE = Process()


@dataclass(frozen=True)
class TokenizedTitles:
    """Titles as token ids on disk; equal rows are known.

    Attributes:
        ids: (T,) int32, all token ids.
        ends: (N,) int64, where each title's ids end.
        first: (U,) int64, first title of each distinct row, the longest rows first.
        same_as: (N,) int64, the first title with the same ids.
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    first: NDArray[np.int64]
    same_as: NDArray[np.int64]

    def row(self, title: int) -> NDArray[np.int32]:
        """Return the token ids of a title."""
        return self.ids[0 if title == 0 else self.ends[title - 1] : self.ends[title]]

    def lengths(self) -> NDArray[np.int64]:
        """Return the tokens of each title, (N,)."""
        return np.diff(self.ends, prepend=0)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all token ids and where they end, hexadecimal."""
        digest = hashlib.sha256(self.ends.tobytes())
        for start in range(0, len(self.ids), 2**20):
            digest.update(self.ids[start : start + 2**20].tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class EmbeddingStore:
    """Where a catalogue's embeddings are kept while they are made, and by whom.

    Attributes:
        folder: Made if it is not there. Embedding goes on from what it holds if that is of the same titles and key.
        key: What else the vectors depend on, such as the hash of the graph.
        process: Each takes every ``count``-th batch; all must be given the same folder.
    """

    folder: Path
    key: str
    process: Process = ALONE


def embed_catalogue(
    titles: Sequence[str],
    tokenizer: TextTokenizer,
    encoder: Embedder,
    store: EmbeddingStore,
    *,
    threads: int,
    progress: Callable[[int], None],
) -> NDArray[np.float32]:
    """Return the embeddings (N, D) of N titles, mapped from ``vectors.npy``.

    Args:
        titles: The products.
        tokenizer: With the text contract.
        encoder: What embeds a batch; runs in several threads.
        store: Where they are kept.
        threads: Batches that run at the same time.
        progress: Called with the number of products that this process has done since the last call.
    """
    folder, process = store.folder, store.process
    folder.mkdir(parents=True, exist_ok=True)
    tokens = tokenize_titles(titles, tokenizer, folder / process.tokens_file)
    identity = hashlib.sha256(f"{store.key}:{process.count}:{tokens.fingerprint}".encode()).hexdigest()
    done = _begin(folder, identity, (len(titles), encoder.dimension), process)
    vectors: NDArray[np.float32] = open_memmap(folder / VECTORS_FILE, mode="r+")  # (N, D)
    copies = np.bincount(tokens.same_as, minlength=len(titles))  # (N,) titles that a distinct one stands for
    progress(sum(int(copies[batch].sum()) for batch in islice(_batches(tokens, process), done)))

    def run(batch: Batch) -> Embedded:
        rows = [tokens.row(title).tolist() for title in batch.tolist()]
        return batch, encoder.embed(pad(rows, pad_id=tokenizer.pad_id))

    saved_at = -math.inf
    with ThreadPoolExecutor(threads) as pool:
        batches = islice(_batches(tokens, process), done, None)
        for batch, embeddings in _in_order(pool, run, batches, 2 * threads):
            vectors[batch] = embeddings
            done += 1
            progress(int(copies[batch].sum()))
            if done % SAVED_EVERY == 0 and time.monotonic() > saved_at + SAVED_EVERY_S:
                saved_at = time.monotonic()
                _save(folder, vectors, identity, done, process)
    _save(folder, vectors, identity, done, process)
    process.wait()
    if process.rank == 0:
        _copy_equal(vectors, tokens.same_as)
    process.wait()
    return vectors


def tokenize_titles(titles: Sequence[str], tokenizer: TextTokenizer, path: Path) -> TokenizedTitles:
    """Write the token ids of titles to a file, and return them mapped from there."""
    lengths: list[NDArray[np.int64]] = []
    digests: list[bytes] = []
    with path.open("wb") as file:
        for start in range(0, len(titles), TOKENIZED_AT_ONCE):
            rows = [
                np.array(row, dtype=np.int32)
                for row in tokenizer.token_ids(titles[start : start + TOKENIZED_AT_ONCE], "product")
            ]
            lengths.append(np.array([len(row) for row in rows], dtype=np.int64))
            digests.append(b"".join(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows))
            np.concatenate(rows).tofile(file)
    ends = np.cumsum(np.concatenate(lengths))
    keys = np.frombuffer(b"".join(digests), dtype="V16")  # (N,)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.lexsort((first, -np.diff(ends, prepend=0)[first]))  # longest first, then as in the catalogue
    return TokenizedTitles(
        ids=np.memmap(path, dtype=np.int32, mode="r"), ends=ends, first=first[order], same_as=first[inverse]
    )


def _batches(tokens: TokenizedTitles, process: Process) -> Iterator[Batch]:
    """Yield the process's batches: titles (B,) of at most ``BATCH_TOKENS`` padded tokens; a longer one runs alone."""
    lengths = tokens.lengths()[tokens.first]  # (U,)
    start, number = 0, 0
    while start < len(tokens.first):
        rows = max(1, min(BATCH_ROWS, BATCH_TOKENS // max(1, int(lengths[start]))))
        if number % process.count == process.rank:
            yield tokens.first[start : start + rows]
        start, number = start + rows, number + 1


def _in_order(
    pool: ThreadPoolExecutor, run: Callable[[Batch], Embedded], batches: Iterator[Batch], ahead: int
) -> Iterator[Embedded]:
    """Yield the results in the order of the batches, of which few are under way at a time."""
    waiting: deque[Future[Embedded]] = deque()
    for batch in batches:
        waiting.append(pool.submit(run, batch))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _copy_equal(vectors: NDArray[np.float32], same_as: NDArray[np.int64]) -> None:
    copies = np.flatnonzero(same_as != np.arange(len(same_as)))
    for start in range(0, len(copies), TOKENIZED_AT_ONCE):
        rows = copies[start : start + TOKENIZED_AT_ONCE]
        vectors[rows] = vectors[same_as[rows]]


def _begin(folder: Path, identity: str, shape: tuple[int, int], process: Process) -> int:
    """Return how many batches the process has done; the folder starts anew unless it is of the same identity."""
    if process.rank == 0 and _done(folder, identity, shape, process) is None:
        for path in folder.glob("progress.*.json"):
            path.unlink()
        _save(
            folder, open_memmap(folder / VECTORS_FILE, mode="w+", dtype=np.float32, shape=shape), identity, 0, process
        )
    process.wait()
    return _done(folder, identity, shape, process) or 0


def _done(folder: Path, identity: str, shape: tuple[int, int], process: Process) -> int | None:
    try:
        state = json.loads((folder / process.progress_file).read_text(encoding="utf-8"))
        same = state["identity"] == identity and np.load(folder / VECTORS_FILE, mmap_mode="r").shape == shape
        return int(state["done"]) if same else None
    except (OSError, ValueError, KeyError):
        return None


def _save(folder: Path, vectors: NDArray[np.float32], identity: str, done: int, process: Process) -> None:
    if isinstance(vectors, np.memmap):
        vectors.flush()  # before the number that says they are there
    write_text(folder / process.progress_file, json.dumps({"identity": identity, "done": done}) + "\n")
