"""The encoder graph on ONNX Runtime: token ids in, embeddings of unit length out.

The served encoder and the offline embedding of a catalogue call the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from trident.encoder.onnx_session import CPU, open_session
from trident.encoder.signed_weights import runs_signed, with_signed_weights
from trident.encoder.tokenization import TokenBatch, pad
from trident.errors import ModelError, first_line

INPUTS = ("input_ids", "attention_mask")  # (B, L) int64 each, B and L free
OUTPUT = "embedding"  # (B, D) float32
FINGERPRINT_KEY = "encoder_fingerprint"  # in the graph's metadata_props
RUN_TOKENS = 384  # tokens a run, about: fewer stream the weights too often, more leave the cache (docs/log/serving.md)

Row = TypeVar("Row", bound=Sequence[int])


class OnnxEncoder:
    """An encoder graph in an ONNX Runtime session; ``load`` one. Embedding is safe from several threads.

    The rows of a batch are dealt out to threads that run side by side, each a whole graph on one core: batches are done
    sooner so than when each operator is cut up among the cores. A lone row, which cannot be dealt out, has a session
    of its own that does cut up the operators (``docs/log/serving.md``).

    Args:
        session: A session on one thread whose inputs and output were checked.
        path: The file it came from, for errors.
        dimension: D of the embeddings.
        threads: Runs side by side.
        lone: A session of the same graph on as many threads, for lone rows; None: they run on ``session``.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        path: Path,
        *,
        dimension: int,
        threads: int = 1,
        lone: ort.InferenceSession | None = None,
    ) -> None:
        """Keep the sessions; see the class for the arguments."""
        self._session = session
        self._lone = lone or session
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encoder") if threads > 1 else None
        self.path = path
        self.dimension = dimension
        self.threads = threads

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        threads: int = 1,
        encoder_fingerprint: str | None = None,
        providers: tuple[str, ...] = (CPU,),
    ) -> OnnxEncoder:
        """Return the encoder of an ONNX file.

        Args:
            path: The ONNX file.
            threads: Rows of a batch run on as many cores, >= 1.
            encoder_fingerprint: What the file's metadata must say; None accepts any, and none.
            providers: ONNX Runtime's execution providers, the first one that can run a node runs it.

        Raises:
            ModelError: If the file is missing, no ONNX graph, of another encoder or without the encoder's inputs and
                output, threads < 1, or a provider is not there.
        """
        if threads < 1:
            raise ModelError(f"threads must be >= 1, got {threads}")
        if not path.is_file():
            raise ModelError(f"encoder {path} does not exist: export the model first")
        graph = _rewritten(path)
        session = open_session(path, what="encoder", providers=providers, graph=graph)
        if encoder_fingerprint is not None:
            _check_fingerprint(session, path, encoder_fingerprint)
        dimension = _check_signature(session, path)
        lone = None
        if threads > 1:
            lone = open_session(path, what="encoder", providers=providers, threads=threads, graph=graph, spins=True)
        return cls(session, path, dimension=dimension, threads=threads, lone=lone)

    def for_lone(self, threads: int) -> OnnxEncoder:
        """Return an encoder of the same graph for who asks alone: each run's operators are cut up among the threads.

        Raises:
            ModelError: If the graph cannot be opened again.
        """
        if threads == self.threads:  # a lone row has a session of its own here
            return self
        session = open_session(self.path, what="encoder", threads=threads, graph=_rewritten(self.path), spins=True)
        return OnnxEncoder(session, self.path, dimension=self.dimension)

    @property
    def encoder_fingerprint(self) -> str | None:
        """The fingerprint in the graph's metadata, or None where the graph carries none."""
        return _fingerprint(self._session)

    def embed(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return the embeddings of a padded batch, (B, D).

        Raises:
            ModelError: If ONNX Runtime cannot run the batch, for example because of a token id outside the vocabulary.
        """
        rows = len(batch.input_ids)
        if not rows:
            return np.empty((0, self.dimension), dtype=np.float32)
        if self._pool is None or rows == 1:
            return self._run(batch, lone=True)
        parts = zip(
            *(np.array_split(part, min(self.threads, rows)) for part in (batch.input_ids, batch.attention_mask)),
            strict=True,
        )
        return np.concatenate(list(self._pool.map(self._run, [TokenBatch(ids, mask) for ids, mask in parts])))

    def embed_whole(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return what ``embed`` returns, of one run whose operators are cut up among all threads: the plain way."""
        return self._run(batch, lone=True)

    def _run(self, batch: TokenBatch, *, lone: bool = False) -> NDArray[np.float32]:
        feeds = dict(zip(INPUTS, (batch.input_ids, batch.attention_mask), strict=True))
        try:
            (embedding,) = (self._lone if lone else self._session).run([OUTPUT], feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class
            shape = batch.input_ids.shape
            raise ModelError(f"encoder {self.path} cannot run a batch of shape {shape}: {first_line(error)}") from error
        return np.asarray(embedding, dtype=np.float32)

    def embed_ids(
        self,
        rows: Sequence[Sequence[int]],
        *,
        pad_id: int,
        run_tokens: int = RUN_TOKENS,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return the embeddings of N rows of token ids, (N, D), in their order.

        Rows run sorted by length, so that little padding is computed, longest first, in runs of about as many tokens.
        Equal rows run once: their embeddings are the same to the last bit, which lets the index merge them.

        Args:
            rows: Token ids, special tokens included, at least one a row.
            pad_id: The tokenizer's padding id.
            run_tokens: Tokens a run, about; a longer row runs alone.
            progress: Called with the number of rows done since the last call.

        Raises:
            ModelError: If a row is empty, run_tokens < 1, or ONNX Runtime cannot run a batch.
        """
        if run_tokens < 1:
            raise ModelError(f"run_tokens must be >= 1, got {run_tokens}")
        if len(rows) == 1 and len(rows[0]):  # who asks alone wants the answer soon
            embedding = self._run(pad(rows, pad_id=pad_id), lone=True)
            if progress is not None:
                progress(1)
            return embedding
        equal: dict[tuple[int, ...], list[int]] = {}
        for number, row in enumerate(rows):
            if not len(row):
                raise ModelError(f"every row must have at least one token, got none in row {number} of {len(rows)}")
            equal.setdefault(tuple(row), []).append(number)
        embeddings = np.empty((len(rows), self.dimension), dtype=np.float32)  # (N, D)
        runs = balanced_runs(sorted(equal, key=len, reverse=True), run_tokens=run_tokens, multiple=self.threads)
        for run, found in zip(runs, self._run_all(runs, pad_id), strict=True):
            for embedding, row in zip(found, run, strict=True):
                embeddings[equal[row]] = embedding
            if progress is not None:
                progress(sum(len(equal[row]) for row in run))
        return embeddings

    def _run_all(self, runs: Sequence[Sequence[Sequence[int]]], pad_id: int) -> Iterator[NDArray[np.float32]]:
        batches = (pad(run, pad_id=pad_id) for run in runs)
        if self._pool is None or len(runs) == 1:
            return (self._run(batch, lone=True) for batch in batches)
        return self._pool.map(self._run, batches)


def balanced_runs(rows: Sequence[Row], *, run_tokens: int, multiple: int = 1) -> list[list[Row]]:
    """Return rows, sorted by length, as consecutive runs of about equal numbers of tokens.

    Args:
        rows: N rows, longest first.
        run_tokens: Tokens a run, at most but for the last row's half.
        multiple: Their number is a multiple of this where there are rows enough, so that as many threads end together.
    """
    tokens = sum(len(row) for row in rows)
    wanted = -(-tokens // run_tokens)
    wanted = min(len(rows), -(-wanted // multiple) * multiple)
    runs: list[list[Row]] = []
    start = 0
    for left in range(wanted, 0, -1):
        share, end, taken = tokens / left, start, 0
        while end < len(rows) and (end == start or taken + len(rows[end]) / 2 <= share):
            taken += len(rows[end])
            end += 1
        if end > start:
            runs.append(list(rows[start:end]))
        start, tokens = end, tokens - taken
    return runs


def _rewritten(path: Path) -> bytes | None:
    """Return the form of a graph that this processor runs faster; None: the file is as good."""
    return with_signed_weights(path) if runs_signed(path) else None


def _fingerprint(session: ort.InferenceSession) -> str | None:
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return metadata.get(FINGERPRINT_KEY)


def _check_fingerprint(session: ort.InferenceSession, path: Path, expected: str) -> None:
    found = _fingerprint(session)
    if found != expected:
        got = f"encoder {found[:12]}" if found else f"no {FINGERPRINT_KEY} in its metadata"
        raise ModelError(f"graph must be of encoder {expected[:12]}, got {got} ({path}): export the model again")


def _check_signature(session: ort.InferenceSession, path: Path) -> int:
    """Return D, after holding names, types and shapes against the contract of the encoder graph."""
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    if set(inputs) != set(INPUTS) or OUTPUT not in outputs:
        raise ModelError(
            f"encoder {path} must have inputs {', '.join(INPUTS)} and output {OUTPUT}, "
            f"got inputs {', '.join(inputs)} and outputs {', '.join(outputs)}"
        )
    for node in inputs.values():
        free = len(node.shape) == 2 and not any(isinstance(size, int) for size in node.shape)
        if node.type != "tensor(int64)" or not free:
            raise ModelError(
                f"input {node.name} of encoder {path} must be int64 of shape (B, L), both free, "
                f"got {node.type} of shape {tuple(node.shape)}"
            )
    output = outputs[OUTPUT]
    if output.type != "tensor(float)" or len(output.shape) != 2 or not isinstance(output.shape[1], int):
        raise ModelError(
            f"output {OUTPUT} of encoder {path} must be float32 of shape (B, D), D fixed, "
            f"got {output.type} of shape {tuple(output.shape)}"
        )
    return output.shape[1]
