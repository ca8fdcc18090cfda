"""Which models the kernels run, by their ``config.json``, and what they are told of them.

BERT, RoBERTa and XLM-RoBERTa (E5, multilingual E5, BGE, GTE, MiniLM), and ModernBERT, all with the exact GELU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def model_fault(config: Mapping[str, Any]) -> str | None:
    """Return why the kernels cannot run a model of this configuration; None where they can."""
    fault = _fault(config, {"model_type": ("bert", *ROBERTA, MODERN)})
    if fault is not None:
        return fault
    if config["model_type"] != MODERN:
        return _fault(config, BERT_VALUES)
    return _fault(config, {"hidden_activation": ("gelu",)}) or _modernbert_fault(config)


def make_encoder(config: Mapping[str, Any], weights: Weights, *, mean: bool, instructions: str, codes: Weights) -> Any:
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
