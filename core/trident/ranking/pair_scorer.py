"""The served reranker: pairs of token rows to logits, by the kernels where they run the model, else by its graph.

Nothing is padded by the kernels, and a pair's logit has the same bits in every batch, in 8 bits too; the graph runs
pairs of similar length together.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from trident.encoder.encoder import FINGERPRINT_KEY, balanced_runs
from trident.encoder.fingerprint import encoder_fingerprint, part_fingerprints
from trident.encoder.graph_files import CODES_FILE, GRAPH_FILES
from trident.encoder.kernel_encoder import CONFIG_FILE, WEIGHTS_FILE, codes_fingerprint, kernels_fault
from trident.encoder.onnx_session import open_session
from trident.encoder.pairs import TOKEN_TYPE_IDS, PairRow, pad_pairs
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ConfigError, ModelError, first_line

LOGIT = "logit"  # FP32 (B, 1), output of the graph
PREFIX = "bert."  # of the names of the weights below the head
PAIR_CODES_FILE = f"codes/{CODES_FILE}"  # beside the weights, whose fingerprint is of all such files of their folder
RUN_TOKENS = 768  # of a graph's run, about


class PairScorer(Protocol):
    """What scores pairs."""

    def score(self, rows: Sequence[PairRow]) -> NDArray[np.float32]:
        """Return the logits (N,) of N pairs, in their order."""

    def for_lone(self, threads: int) -> PairScorer:
        """Return what scores for who asks alone and has so many cores."""


class KernelScorer:
    """A merged reranker on the kernels of this processor; ``load`` one. Safe from several threads.

    Args:
        bert: A ``trident_kernels.BertEncoder`` with a head.
        folder: Where its weights came from, for errors.
        threads: Pairs are dealt out to.
    """

    def __init__(self, bert: Any, folder: Path, *, threads: int = 1) -> None:
        """Keep the model; see the class for the arguments."""
        self._bert, self._folder, self._threads = bert, folder, threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="reranker") if threads > 1 else None
        self.instructions: str = bert.instructions

    @classmethod
    def load(
        cls, folder: Path, *, codes: Path | None = None, threads: int = 1, instructions: str | None = None
    ) -> KernelScorer:
        """Return the reranker of a merged model.

        Args:
            folder: With ``config.json`` and ``model.safetensors``.
            codes: File of its linear layers in 8 bits, of ``trident_export.graphs.int8_codes``; None: they are float32.
            threads: Pairs run on as many cores.
            instructions: ``amx``, ``avx512``, ``avx2`` or ``neon``; None: the fastest of this processor.

        Raises:
            ModelError: If the kernels cannot run it here, or its weights are damaged.
        """
        fault = reranker_fault(folder, codes)
        if fault is not None:
            raise ModelError(f"reranker {folder} cannot run on the kernels: {fault}")
        import trident_kernels  # here, as safetensors: graphs are served without them
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        try:
            weights = {name.removeprefix(PREFIX): each for name, each in load_file(folder / WEIGHTS_FILE).items()}
            integers = {} if codes is None else load_file(codes)
            bert = trident_kernels.BertEncoder(
                weights,
                heads=config["num_attention_heads"],
                epsilon=config["layer_norm_eps"],
                mean=False,
                instructions=instructions or "",
                codes=integers,
                reranker=True,
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"reranker {folder} does not fit the kernels: {error}; export again") from error
        return cls(bert, folder, threads=threads)

    def for_lone(self, threads: int) -> KernelScorer:
        """Return the scorer for who asks alone: pairs are dealt out to so many threads."""
        return KernelScorer(self._bert, self._folder, threads=max(threads, self._threads))

    def score(self, rows: Sequence[PairRow]) -> NDArray[np.float32]:
        """Return the logits (N,) of N pairs, in their order.

        Raises:
            ModelError: If a pair is too long, or has an id outside the vocabulary.
        """
        if self._pool is None or len(rows) < 2:
            return self._score(rows)
        share = -(-sum(len(row.ids) for row in rows) // self._threads)
        parts: list[list[PairRow]] = [[]]
        tokens = 0
        for row in rows:
            if tokens >= share and len(parts) < self._threads:
                parts.append([])
                tokens = 0
            parts[-1].append(row)
            tokens += len(row.ids)
        return np.concatenate(list(self._pool.map(self._score, parts)))

    def _score(self, rows: Sequence[PairRow]) -> NDArray[np.float32]:
        ids = np.array([token for row in rows for token in row.ids], dtype=np.int32)
        firsts = [row.query_tokens for row in rows]
        try:
            logits: NDArray[np.float32] = self._bert.score(ids, [len(row.ids) for row in rows], firsts)
        except ValueError as error:
            raise ModelError(f"reranker {self._folder} cannot run {len(rows)} pairs: {error}") from error
        return logits


class GraphScorer:
    """A reranker's graph on ONNX Runtime; ``load`` one.

    Args:
        session: Whose inputs and output were checked.
        path: The file it came from, for errors.
        pad_id: The tokenizer's.
        kinds: Types of tokens that the model knows.
    """

    def __init__(self, session: ort.InferenceSession, path: Path, *, pad_id: int, kinds: int) -> None:
        """Keep the session; see the class for the arguments."""
        self._session, self.path, self._pad_id, self._kinds = session, path, pad_id, kinds

    @classmethod
    def load(cls, path: Path, *, fingerprint: str, pad_id: int, kinds: int = 2, threads: int = 1) -> GraphScorer:
        """Return the reranker of an ONNX file.

        Raises:
            ModelError: If the file is missing, no graph of pairs, or of another reranker.
        """
        if not path.is_file():
            raise ModelError(f"reranker {path} does not exist: export again")
        session = open_session(path, what="reranker", threads=threads)
        found = session.get_modelmeta().custom_metadata_map.get(FINGERPRINT_KEY, "")
        if found != fingerprint:
            raise ModelError(
                f"graph must be of reranker {fingerprint[:12]}, got {found[:12] or 'none'} ({path}): export again"
            )
        inputs = {node.name for node in session.get_inputs()}
        wanted = {"input_ids", "attention_mask", *([TOKEN_TYPE_IDS] if kinds > 1 else [])}
        if inputs != wanted or [node.name for node in session.get_outputs()] != [LOGIT]:
            raise ModelError(
                f"reranker {path} must have inputs {', '.join(sorted(wanted))} and output {LOGIT}, got "
                f"{', '.join(sorted(inputs))}: export again"
            )
        return cls(session, path, pad_id=pad_id, kinds=kinds)

    def for_lone(self, threads: int) -> GraphScorer:  # noqa: ARG002 - a graph is opened for its threads
        """Return the scorer for who asks alone: this one."""
        return self

    def score(self, rows: Sequence[PairRow]) -> NDArray[np.float32]:
        """Return the logits (N,) of N pairs, in their order.

        Raises:
            ModelError: If ONNX Runtime cannot run them.
        """
        logits = np.empty(len(rows), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place].ids))
        by_place = [_Placed(place, rows[place]) for place in order]
        for run in balanced_runs(by_place, run_tokens=RUN_TOKENS):  # type: ignore[type-var]
            batch = pad_pairs([each.row for each in run], pad_id=self._pad_id, kinds=self._kinds)
            feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
            if self._kinds > 1:
                feeds[TOKEN_TYPE_IDS] = batch.token_type_ids
            try:
                (found,) = self._session.run([LOGIT], feeds)
            except Exception as error:  # ONNX Runtime's errors share no base class
                shape = batch.input_ids.shape
                raise ModelError(f"reranker {self.path} cannot run pairs of {shape}: {first_line(error)}") from error
            logits[[each.place for each in run]] = found[:, 0]
        return logits


class _Placed:
    """A pair and its place; as long as its tokens."""

    def __init__(self, place: int, row: PairRow) -> None:
        self.place, self.row = place, row

    def __len__(self) -> int:
        return len(self.row.ids)


def reranker_fault(folder: Path, codes: Path | None = None) -> str | None:
    """Return why the kernels cannot run a merged reranker here, or its 8-bit form; None where they can."""
    fault = kernels_fault(folder, codes)
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")) if fault is None else {}
    if fault is None and config.get("model_type") != "bert":
        fault = f"model_type must be bert, got {config.get('model_type')}"
    if fault is None and token_kinds(folder) < 1:
        fault = "its config.json has no type_vocab_size"
    return fault


def token_kinds(folder: Path) -> int:
    """Return how many types of tokens the model of a folder knows.

    Raises:
        ModelError: If its configuration cannot be read.
    """
    path = folder / CONFIG_FILE
    try:
        return int(json.loads(path.read_text(encoding="utf-8")).get("type_vocab_size", 0))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"model configuration {path} cannot be read: {error}") from error


def load_scorer(
    folder: Path, *, fingerprint: str, precision: str = "fp32", threads: int = 1, kernels: str = "auto"
) -> tuple[PairScorer, TextTokenizer]:
    """Return what scores pairs on a CPU, and the tokenizer that goes with it.

    Args:
        folder: Of the reranker in a generation: the merged model, its graphs, tokenizer and text contract.
        fingerprint: Of weights, tokenizer and text contract together.
        precision: That serves; in 8 bits the kernels compute where their codes are there, else the graph does.
        threads: Pairs run on as many cores, >= 1.
        kernels: ``auto``, ``on`` or ``off``, as for the encoder.

    Raises:
        ModelError: If the reranker is missing, damaged, or of another fingerprint.
        ConfigError: If ``kernels`` is none of the three.
    """
    if kernels not in ("auto", "on", "off"):
        raise ConfigError(f"kernels must be auto, on, off, got '{kernels}'")
    if not folder.is_dir():
        raise ModelError(f"reranker {folder} is missing, which the generation has: export again")
    tokenizer = TextTokenizer.load(folder, TextContract.load(folder))
    found = encoder_fingerprint(part_fingerprints(folder, tokenizer))
    if found != fingerprint:
        raise ModelError(
            f"reranker {folder} must be that of the generation, {fingerprint[:12]}, got {found[:12]}: export again"
        )
    codes = folder / PAIR_CODES_FILE if precision == "int8" else None
    fault = "they are switched off" if kernels == "off" else reranker_fault(folder, codes)
    if fault is None and precision not in ("fp32", "int8"):
        fault = f"they compute in float32 and in 8 bits, it is served in {precision}"
    if fault is None:
        if codes is not None and (of := codes_fingerprint(codes)) != fingerprint:
            raise ModelError(
                f"weights {codes} must be of reranker {fingerprint[:12]}, got {(of or 'none')[:12]}: export again"
            )
        return KernelScorer.load(folder, codes=codes, threads=threads), tokenizer
    if kernels == "on":
        raise ModelError(f"the kernels must run reranker {folder}, and cannot: {fault}")
    logging.getLogger(__name__).debug("reranker %s runs on ONNX Runtime, not on the kernels: %s", folder, fault)
    graph = GraphScorer.load(
        folder / GRAPH_FILES[precision],
        fingerprint=fingerprint,
        pad_id=tokenizer.pad_id,
        kinds=max(token_kinds(folder), 1),
        threads=threads,
    )
    return graph, tokenizer
