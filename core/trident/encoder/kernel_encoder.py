"""The encoder of short texts on CPUs: the merged model, or its 8-bit form, on Trident's own kernels (``kernels/``).

ONNX Runtime reads the weights of a lone query at a third of what a core can (``docs/log/``); the kernels fetch them
ahead, compute no padding, and add up a row's sums in the same order whatever else is in the batch, so that a text has
the same embedding, to the last bit, in every batch. Which models they run: BERT, RoBERTa and XLM-RoBERTa (E5,
multilingual E5, BGE, GTE, MiniLM) and ModernBERT, all with the exact GELU. Others run their graph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.encoder.encoder import FINGERPRINT_KEY, balanced_runs
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TokenBatch, unpadded
from trident.errors import ModelError

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
REMEDY = "install it: pip install ./kernels"
Weights = dict[str, NDArray[Any]]

ROBERTA = ("roberta", "xlm-roberta")  # whose positions start after the padding id
MODERN = "modernbert"
BERT_VALUES: dict[str, tuple[object, ...]] = {
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
}
GLOBAL, LOCAL = "full_attention", "sliding_attention"  # kinds of ModernBERT's layers
BIASED = {  # the biases that ModernBERT's configuration switches on, of each layer
    "attention_bias": ("attn.Wqkv", "attn.Wo"),
    "mlp_bias": ("mlp.Wi", "mlp.Wo"),
    "norm_bias": ("attn_norm", "mlp_norm"),
}


class KernelEncoder:
    """A merged encoder on the kernels of this processor; ``load`` one. Embedding is safe from several threads.

    Args:
        model: A ``trident_kernels.Encoder``.
        folder: Where its weights came from, for errors.
        threads: Rows of a batch are dealt out to.
        shared: Whether two cores share the weights for a row that is alone.
    """

    def __init__(self, model: Any, folder: Path, *, threads: int = 1, shared: bool = False) -> None:
        """Keep the encoder; see the class for the arguments."""
        self._model = model
        self._alone = model.embed_together if shared else model.embed
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="encoder") if threads > 1 else None
        self.folder = folder
        self.threads = threads
        self.dimension: int = model.dimension
        self.instructions: str = model.instructions

    @classmethod
    def load(
        cls,
        folder: Path,
        contract: TextContract,
        *,
        codes: Path | None = None,
        threads: int = 1,
        instructions: str | None = None,
    ) -> KernelEncoder:
        """Return the encoder of a merged model.

        Args:
            folder: With ``config.json`` and ``model.safetensors``.
            contract: Gives the pooling.
            codes: File of its linear layers in 8 bits, of ``trident_export.graphs.int8_codes``; None: they are float32.
            threads: Rows of a batch run on as many cores, >= 1.
            instructions: ``amx``, ``avx512``, ``avx2`` or ``neon``; None: the fastest of this processor.

        Raises:
            ModelError: If the kernels cannot run it here (``kernels_fault``), or weights are damaged.
        """
        if threads < 1:
            raise ModelError(f"threads must be >= 1, got {threads}")
        fault = kernels_fault(folder, codes)
        if fault is not None:
            raise ModelError(f"encoder {folder} cannot run on the kernels: {fault}")
        from safetensors import SafetensorError  # here: graphs are served without it
        from safetensors.numpy import load_file

        config = _config(folder)
        arrays = []
        for path in (folder / WEIGHTS_FILE, codes):
            try:
                arrays.append({} if path is None else load_file(path))
            except (OSError, SafetensorError) as error:
                raise ModelError(f"weights {path} cannot be read: {error}") from error
        weights, integers = arrays
        try:
            model = _packed(
                config,
                weights,
                mean=contract.pooling == "mean",
                instructions=instructions or "",
                codes=integers,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"encoder {folder} does not fit the kernels: {error}") from error
        return cls(model, folder, threads=threads)

    def for_lone(self, threads: int) -> KernelEncoder:
        """Return the encoder for who asks alone: a row waits for the weights, of which two cores read half."""
        return KernelEncoder(self._model, self.folder, threads=self.threads, shared=True) if threads > 1 else self

    def embed_ids(self, rows: Sequence[Sequence[int]], *, pad_id: int) -> NDArray[np.float32]:  # noqa: ARG002
        """Return the embeddings of N rows of token ids, (N, D), in their order.

        Args:
            rows: Token ids, special tokens included, at least one a row.
            pad_id: Not needed, nothing is padded.

        Raises:
            ModelError: If a row is empty or too long, or has an id outside the vocabulary.
        """
        return self._dealt_out(self._embed, rows)

    def states(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return what the last layer leaves of each token, (tokens of all rows, D), of a BERT or RoBERTa.

        Raises:
            ModelError: As ``embed_ids``, or for a ModernBERT.
        """
        return self._dealt_out(self._states, rows)

    def embed_states(self, states: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the embeddings of N rows, (N, D), by what the first layer reads in the place of the ids' embeddings.

        Args:
            states: (tokens, D) of each row: those of an encoder of the layers below this one's.

        Raises:
            ModelError: If a row is empty, too long or of another width, or for a ModernBERT.
        """
        return self._dealt_out(self._embed_states, states)

    def embed(self, batch: TokenBatch) -> NDArray[np.float32]:
        """Return the embeddings of a padded batch, (B, D); zeros for a row of padding only, as the graph gives.

        Raises:
            ModelError: If a row is too long, or has an id outside the vocabulary.
        """
        rows = unpadded(batch.input_ids, batch.attention_mask)
        embeddings = np.zeros((len(rows), self.dimension), dtype=np.float32)
        with_tokens = [number for number, row in enumerate(rows) if row]
        if with_tokens:
            embeddings[with_tokens] = self.embed_ids([rows[number] for number in with_tokens], pad_id=0)
        return embeddings

    def _dealt_out(self, run: Callable[[Any], NDArray[np.float32]], rows: Sequence[Any]) -> NDArray[np.float32]:
        if self._pool is None or len(rows) < 2:
            return run(rows)
        share = -(-sum(len(row) for row in rows) // self.threads)
        runs = balanced_runs(rows, run_tokens=max(share, 1), multiple=self.threads)
        return np.concatenate(list(self._pool.map(run, runs)))

    def _embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        return self._called(self._alone if len(rows) == 1 else self._model.embed, _flat(rows), rows)

    def _states(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        return self._called(self._model.states, _flat(rows), rows)

    def _embed_states(self, states: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        given = np.concatenate(states) if states else np.empty((0, self.dimension), dtype=np.float32)
        return self._called(self._model.embed_states, given, states)

    def _called(
        self, run: Callable[[NDArray[Any], list[int]], NDArray[np.float32]], given: NDArray[Any], rows: Sequence[Any]
    ) -> NDArray[np.float32]:
        try:
            return run(given, [len(row) for row in rows])
        except ValueError as error:
            raise ModelError(f"encoder {self.folder} cannot run {len(rows)} rows: {error}") from error


def _flat(rows: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    return np.array([token for row in rows for token in row], dtype=np.int32)


def kernels_fault(folder: Path, codes: Path | None = None) -> str | None:
    """Return why the kernels cannot run a merged model here, or its 8-bit form; None where they can."""
    try:
        import trident_kernels
    except ImportError as error:
        return f"trident_kernels is not installed ({error}); {REMEDY}"
    if not hasattr(trident_kernels, "Encoder") or not hasattr(trident_kernels.Encoder, "embed_together"):
        return f"trident_kernels is of an earlier version; {REMEDY}"
    if not trident_kernels.instructions():
        return "this processor has neither AVX-512 nor AVX2 with FMA, and is not one of ARM in 64 bits"
    if codes is not None and not trident_kernels.instructions_8_bits():
        return "this processor has neither AVX2 nor ARM's dot product, which they need for 8 bits"
    for path in (folder / WEIGHTS_FILE, codes):
        if path is not None and not path.is_file():
            return f"{path.parent} has no {path.name}"
    return _model_fault(_config(folder))


def codes_fingerprint(codes: Path) -> str | None:
    """Return which encoder the integers of a file are of; None where it does not say.

    Raises:
        ModelError: If the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open  # here: graphs are served without it

    try:
        with safe_open(codes, "numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"weights {codes} cannot be read: {error}") from error
    return metadata.get(FINGERPRINT_KEY)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model configuration {path} cannot be read: {error}") from error
    return config


def _model_fault(config: Mapping[str, Any]) -> str | None:
    """Return why the kernels cannot run a model of this configuration; None where they can."""
    fault = _fault(config, {"model_type": ("bert", *ROBERTA, MODERN)})
    if fault is not None:
        return fault
    if config["model_type"] != MODERN:
        return _fault(config, BERT_VALUES)
    return _fault(config, {"hidden_activation": ("gelu",)}) or _modernbert_fault(config)


def _packed(config: Mapping[str, Any], weights: Weights, *, mean: bool, instructions: str, codes: Weights) -> Any:
    """Return a ``trident_kernels`` encoder of a model without a fault.

    Args:
        config: Of the model.
        weights: By the names of transformers' bare model; missing biases of ModernBERT are added.
        mean: Pooling: mean of the tokens, or the first one.
        instructions: Of the kernels; empty: the fastest of this processor.
        codes: Linear layers in 8 bits, as ``trident_export.graphs.int8_codes`` names them; empty: float32.

    Raises:
        KeyError: If the configuration lacks a value.
        ValueError: If weights are missing or do not fit.
    """
    import trident_kernels  # here: graphs are served without them

    options = {"mean": mean, "instructions": instructions, "codes": codes, "heads": config["num_attention_heads"]}
    if config["model_type"] != MODERN:
        padding = config["pad_token_id"] if config["model_type"] in ROBERTA else -1
        return trident_kernels.BertEncoder(weights, epsilon=config["layer_norm_eps"], padding=padding, **options)
    _add_biases(config, weights)
    kinds = config["layer_types"]
    frequencies = {kind: _frequencies(config, kind) for kind in set(kinds)}
    return trident_kernels.ModernBertEncoder(
        weights,
        epsilon=config["norm_eps"],
        positions=config["max_position_embeddings"],
        windows=[config["local_attention"] // 2 if kind == LOCAL else -1 for kind in kinds],
        frequencies=[frequencies[kind] for kind in kinds],
        **options,
    )


def _fault(config: Mapping[str, Any], wanted: Mapping[str, tuple[object, ...]]) -> str | None:
    for name, values in wanted.items():
        if config.get(name) not in values:
            return f"{name} must be {' or '.join(str(value) for value in values if value)}, got {config.get(name)}"
    return None


def _modernbert_fault(config: Mapping[str, Any]) -> str | None:
    kinds, rotations = config.get("layer_types"), config.get("rope_parameters")
    if not kinds or not rotations:
        return "its config.json has no layer_types or no rope_parameters, as transformers writes since version 5"
    for kind in sorted(set(kinds)):
        if kind not in (GLOBAL, LOCAL):
            return f"layer_types must be {GLOBAL} or {LOCAL}, got {kind}"
        if (fault := _fault(rotations.get(kind) or {}, {"rope_type": ("default",)})) is not None:
            return f"rope_parameters of {kind}: {fault}"
    width = config.get("hidden_size", 0) // config.get("num_attention_heads", 1)
    return f"a head must be of an even width, got {width}" if width % 2 else None


def _add_biases(config: Mapping[str, Any], weights: Weights) -> None:
    """Add zeros for the biases that a ModernBERT has not."""
    for flag, parts in BIASED.items():
        if config[flag]:
            continue
        names = [f"layers.{number}.{part}" for number in range(config["num_hidden_layers"]) for part in parts]
        for name in [*names, *(("embeddings.norm", "final_norm") if flag == "norm_bias" else ())]:
            if f"{name}.weight" in weights:  # the first layer has no attn_norm
                weights[f"{name}.bias"] = np.zeros(len(weights[f"{name}.weight"]), dtype=np.float32)


def _frequencies(config: Mapping[str, Any], kind: str) -> NDArray[np.float32]:
    """Return what the place of a token is multiplied by for the angle of each pair, (half a head's width)."""
    width = config["hidden_size"] // config["num_attention_heads"]
    base = np.float32(config["rope_parameters"][kind]["rope_theta"])
    return np.float32(1) / base ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))
