"""Runs the same encoder with PyTorch, ONNX Runtime and TensorRT side by side, on what is here.

    python bench/engines.py                       # a model of e5-large-v2's shape, random weights
    python bench/engines.py --model FOLDER --batches 1 8 32 --tokens 16 32 64 --json

With a GPU: PyTorch in float16 (scaled dot product attention) as it comes and, as it is served, with a CUDA graph for
each shape; ONNX Runtime and TensorRT(-RTX) on the float16 graph.
Without: PyTorch and ONNX Runtime in float32 on one thread each. Ways that cannot run here are named with the reason.
Each takes token ids in the machine's memory and gives embeddings there; they take turns. Prints the median
milliseconds of a batch, and the smallest cosine to PyTorch's float32 on the CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.onnx_session import CPU
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TokenBatch
from trident.errors import ExportError, TridentError
from trident.generation.plan import Library, load_library
from trident.retrieval.tensors import ATTENTION_MASK, EMBEDDING, INPUT_IDS
from trident_export.engine.engine import PlanSettings, build_plan
from trident_export.engine.profiles import Profile
from trident_export.graphs.fp16 import convert_fp16
from trident_export.graphs.onnx_graph import EncoderGraph, export_onnx
from trident_export.merge.merge import load_backbone
from trident_gpu.buckets import Buckets
from trident_gpu.encoder import TorchEncoder
from trident_train.model.random_model import E5_LARGE, write_random_model

CUDA = "CUDAExecutionProvider"
VOCABULARY = 100  # every one has a hundred tokens

Shape = tuple[int, int]  # rows, tokens
Way = Callable[[TokenBatch], NDArray[np.float32]]  # (B, L) -> (B, D)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a way took for a shape."""

    way: str
    rows: int
    tokens: int
    milliseconds: float  # median
    smallest_cosine: float


def with_torch(model: Path, *, device: str, half: bool) -> Way:
    """Return PyTorch as it would be used without an export."""
    backbone = AutoModel.from_pretrained(str(model), attn_implementation="sdpa")
    graph = EncoderGraph(backbone, TextContract()).eval().to(device, torch.float16 if half else torch.float32)

    def embed(batch: TokenBatch) -> NDArray[np.float32]:
        with torch.inference_mode():
            ids, mask = (torch.from_numpy(part).to(device) for part in (batch.input_ids, batch.attention_mask))
            return np.asarray(graph(ids, mask).float().cpu().numpy(), dtype=np.float32)

    return embed


def with_graphs(model: Path, shapes: Sequence[Shape]) -> Way:
    """Return PyTorch as ``trident serve --variant torch`` runs it."""
    rows, tokens = (tuple(sorted({shape[axis] for shape in shapes})) for axis in (0, 1))
    return TorchEncoder.load(model, TextContract(), Buckets(rows=rows, tokens=tokens), device="cuda").embed


def make_profiles(shapes: Sequence[Shape]) -> list[Profile]:
    """Return a profile a shape: none is measured with kernels that were chosen for another."""
    return [
        Profile(name=f"{rows}x{tokens}", min=(rows, tokens), opt=(rows, tokens), max=(rows, tokens))
        for rows, tokens in shapes
    ]


def load_plan(library: Library, plan: Path) -> Any:
    """Return the engine of a plan.

    Raises:
        ExportError: If the library does not load it.
    """
    trt = load_library(library)
    engine = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR)).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise ExportError(f"{library} must load the plan that it built, got no engine of {plan.name}")
    return engine


def with_tensorrt(library: Library, graph: Path, shapes: Sequence[Shape]) -> Way:
    """Return a plan that is built here for the shapes."""
    plan = graph.with_name(f"{library}.plan")
    build_plan(graph, plan, make_profiles(shapes), PlanSettings(library, "fp16"))
    engine = load_plan(library, plan)
    context = engine.create_execution_context()
    width = engine.get_tensor_shape(EMBEDDING)[-1]

    def embed(batch: TokenBatch) -> NDArray[np.float32]:
        output = torch.empty((len(batch.input_ids), width), device="cuda")  # (B, D)
        given = {INPUT_IDS: batch.input_ids, ATTENTION_MASK: batch.attention_mask}
        on_gpu = {name: torch.from_numpy(part).cuda() for name, part in given.items()}
        stream = torch.cuda.current_stream()
        context.set_optimization_profile_async(shapes.index(batch.input_ids.shape), stream.cuda_stream)
        for name, part in on_gpu.items():
            context.set_input_shape(name, tuple(part.shape))
            context.set_tensor_address(name, part.data_ptr())
        context.set_tensor_address(EMBEDDING, output.data_ptr())
        context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return np.asarray(output.cpu().numpy(), dtype=np.float32)

    return embed


def find_ways(model: Path, folder: Path, shapes: Sequence[Shape]) -> tuple[dict[str, Way], dict[str, str]]:
    """Return what can run here by name, and why the others cannot."""
    full, half = folder / "model.onnx", folder / "model.fp16.onnx"
    export_onnx(EncoderGraph(load_backbone(model), TextContract()).eval(), full, encoder_fingerprint="bench")
    convert_fp16(full, half)
    gpu = torch.cuda.is_available()
    if CUDA in onnxruntime.get_available_providers():
        onnxruntime.preload_dlls()  # of PyTorch's CUDA
    graphs = {"onnxruntime cpu fp32": (full, CPU), "onnxruntime cuda fp16": (half, CUDA)}
    makers: dict[str, Callable[[], Way]] = {
        "torch cpu fp32": lambda: with_torch(model, device="cpu", half=False),
        "torch cuda fp16": lambda: with_torch(model, device="cuda", half=True),
        "torch cuda fp16 graphs": lambda: with_graphs(model, shapes),
        **{
            name: lambda graph=graph, provider=provider: OnnxEncoder.load(graph, providers=(provider,)).embed
            for name, (graph, provider) in graphs.items()
        },
        **{
            f"{library} fp16": lambda library=library: with_tensorrt(library, half, shapes)
            for library in get_args(Library)
        },
    }
    ways, absent = {}, {}
    for name, make in makers.items():
        if "cpu" in name and gpu:
            absent[name] = "there is a GPU"
        elif "cpu" not in name and not gpu:
            absent[name] = "no GPU that PyTorch can use"
        elif "onnxruntime cuda" in name and CUDA not in onnxruntime.get_available_providers():
            absent[name] = "this onnxruntime has no CUDA: install onnxruntime-gpu"
        else:
            try:
                ways[name] = make()
            except TridentError as error:
                absent[name] = str(error)
    return ways, absent


def measure(ways: dict[str, Way], shapes: Sequence[Shape], reference: Way, seconds: float) -> list[Row]:
    """Return a row for each way and shape; the ways take turns, so that a busy machine is busy for all of them."""
    generator = np.random.default_rng(0)
    rows = []
    for count, tokens in shapes:
        ids = generator.integers(VOCABULARY, size=(count, tokens))
        batch = TokenBatch(ids, np.ones_like(ids))
        expected = reference(batch)  # (B, D)
        cosines = {name: float((embed(batch) * expected).sum(1).min()) for name, embed in ways.items()}  # warms up too
        taken: dict[str, list[float]] = {name: [] for name in ways}
        end = time.perf_counter() + seconds * len(ways)
        while time.perf_counter() < end or not all(taken.values()):
            for name, embed in ways.items():
                started = time.perf_counter()
                embed(batch)
                taken[name].append(1000 * (time.perf_counter() - started))
        rows += [
            Row(
                way=name,
                rows=count,
                tokens=tokens,
                milliseconds=float(np.median(taken[name])),
                smallest_cosine=cosines[name],
            )
            for name in ways
        ]
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder; without: e5-large-v2's shape, random weights")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, for each way and shape")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    shapes = [(count, tokens) for tokens in options.tokens for count in options.batches]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            model = options.model or write_random_model(folder / "model", E5_LARGE)
            ways, absent = find_ways(model, folder, shapes)
        except TridentError as error:
            sys.stderr.write(f"bench/engines.py: {error}\n")
            return 1
        rows = measure(ways, shapes, with_torch(model, device="cpu", half=False), options.seconds)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    if options.json:
        document = {"device": device, "rows": [asdict(row) for row in rows], "not_here": absent}
        sys.stdout.write(json.dumps(document) + "\n")
        return 0
    sys.stdout.write(f"{device}\n| way | batch | tokens | ms | cosine |\n| --- | ---: | ---: | ---: | ---: |\n")
    for row in rows:
        sys.stdout.write(
            f"| {row.way} | {row.rows} | {row.tokens} | {row.milliseconds:.2f} | {row.smallest_cosine:.6f} |\n"
        )
    for name, reason in absent.items():
        sys.stdout.write(f"not here: {name}: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
