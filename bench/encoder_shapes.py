"""Embeds queries by the kernels and by ONNX Runtime's unpadded graph, for models of known shapes and random weights.

    python bench/encoder_shapes.py minilm multilingual-e5-small modernbert-base
    python bench/encoder_shapes.py modernbert-base --layers 3 --precision int8 --rounds 20

Needs no model: weights are random, which changes no time. Prints one JSON document: milliseconds of processor time on
one core (user and system) for 1, 9 and 32 queries, medians of rounds in turns, and the smallest cosine between both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, BertConfig, ModernBertConfig, PreTrainedConfig

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.graph_files import CODES_FILE, GRAPH_FILES, UNPADDED_FILES
from trident.encoder.kernel_encoder import KernelEncoder
from trident.encoder.text import TextContract
from trident.encoder.tokenization import pad
from trident_export.graphs.graphs import make_graph
from trident_export.graphs.int8_codes import write_codes
from trident_export.graphs.onnx_graph import EncoderGraph, export_onnx
from trident_export.graphs.unpad import convert_unpadded
from trident_export.merge.merge import load_backbone

WIDE = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
SHAPES: dict[str, Callable[[int | None], PreTrainedConfig]] = {  # by the number of layers; None: all
    "minilm": lambda layers: BertConfig(num_hidden_layers=layers or 6, **WIDE),
    "multilingual-e5-small": lambda layers: BertConfig(vocab_size=250_037, num_hidden_layers=layers or 12, **WIDE),
    "modernbert-base": lambda layers: ModernBertConfig(num_hidden_layers=layers or 22),  # of 768
}
QUERIES = (1, 9, 32)
TOKENS = (4, 13)  # of a query, at least and below
LONE_TOKENS = 7
CALIBRATION = 8  # batches

Rows = list[list[int]]


def queries(count: int, vocabulary: int) -> Rows:
    """Return rows of random tokens, as long as queries of a shop are."""
    generator = np.random.default_rng(count)
    lengths = [LONE_TOKENS] if count == 1 else generator.integers(*TOKENS, size=count)
    return [generator.integers(200, vocabulary, size=length).tolist() for length in lengths]


def encoders(config: PreTrainedConfig, precision: str, folder: Path) -> dict[str, OnnxEncoder | KernelEncoder]:
    """Return both encoders of a random model, made in ``folder``."""
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(str(folder))
    contract = TextContract()
    graph = folder / GRAPH_FILES["fp32"]
    export_onnx(EncoderGraph(load_backbone(folder), contract).eval(), graph, encoder_fingerprint="0")
    codes = None
    if precision == "int8":
        batches = [pad(queries(each, config.vocab_size), pad_id=0) for each in range(2, 2 + CALIBRATION)]
        make_graph("int8", graph, folder / GRAPH_FILES["int8"], batches, threads=1)
        graph, codes = folder / GRAPH_FILES["int8"], folder / CODES_FILE
        write_codes(graph, folder, codes)
    convert_unpadded(graph, folder / UNPADDED_FILES[precision])
    return {
        "graph": OnnxEncoder.load(folder / UNPADDED_FILES[precision]),
        "kernels": KernelEncoder.load(folder, contract, codes=codes),
    }


def measured(ways: dict[str, OnnxEncoder | KernelEncoder], rows: Rows, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of processor time of each way, and how near they are."""
    found: dict[str, NDArray[np.float32]] = {}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, encoder in ways.items():
            started = time.process_time()
            found[name] = encoder.embed_ids(rows, pad_id=0)
            taken[name].append(1000 * (time.process_time() - started))
    medians = {f"{name}_ms": round(float(np.median(each[1:])), 2) for name, each in taken.items()}
    cosine = float((found["graph"] * found["kernels"]).sum(1).min())
    return {**medians, "ratio": round(medians["graph_ms"] / medians["kernels_ms"], 2), "smallest_cosine": cosine}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--layers", type=int, help="fewer than the shape has, which export sooner")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    report = {}
    for name in given.shapes:
        config = SHAPES[name](given.layers)
        with tempfile.TemporaryDirectory() as folder:
            ways = encoders(config, given.precision, Path(folder))
            report[name] = {count: measured(ways, queries(count, config.vocab_size), given.rounds) for count in QUERIES}
    json.dump({"precision": given.precision, "layers": given.layers, "shapes": report}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
