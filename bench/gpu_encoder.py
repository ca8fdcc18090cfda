"""The encoder that PyTorch runs, served by a tritonserver to 1 to 128 clients, against the same one in this process.

    python bench/gpu_encoder.py --queries ../shared/data/esci/pairs.csv       # e5-large-v2's shape, random weights
    python bench/gpu_encoder.py --queries pairs.csv --model FOLDER --clients 1,8 --instances 1 --json

Token ids of real queries go in, embeddings come out: what is measured is the encoder and its serving, without tokenizer
and index. The server is the wheel's or NVIDIA's, the model that of ``trident serve --variant torch``, asked by
perf_analyzer over gRPC. In this process it runs with CUDA graphs and, to see what they give, without, before the server
and after it. Without a GPU it computes in float32 on the CPU, which proves that it runs and little else.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from trident.bench.perf_analyzer import Load, PerfAnalyzer, Target, find_perf_analyzer
from trident.bench.queries import draw_queries, write_rows_input
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ModelError, TridentError
from trident.generation.generation import QUERY_TOKENS, Identity
from trident.server.runtime_repository import WEIGHTS
from trident.server.server import ServerConfig, TritonServer, free_ports
from trident_gpu.buckets import Buckets
from trident_gpu.encoder import TorchEncoder
from trident_train.model.random_model import E5_LARGE, write_random_model

TEMPLATES = Path(__file__).resolve().parents[1] / "model_repository"
ENCODER = "encoder"
WARM_UP = 5  # batches
SMALLEST_COSINE = 0.9999


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one way did."""

    way: str
    rows_per_s: float
    p50_ms: float  # of a batch or a request
    p99_ms: float
    mean_batch: float


def in_process(name: str, encoder: TorchEncoder, rows: Sequence[Sequence[int]], batch: int, seconds: float) -> Row:
    """Return what the encoder does by itself with batches of a size, cut from the rows again and again."""
    taken: list[float] = []
    position, end = 0, 0.0
    while len(taken) < WARM_UP + 1 or time.perf_counter() < end:
        if len(taken) == WARM_UP:
            end = time.perf_counter() + seconds
        asked = [rows[(position + each) % len(rows)] for each in range(batch)]
        started = time.perf_counter()
        encoder.embed_ids(asked, pad_id=0)
        taken.append(time.perf_counter() - started)
        position += batch
    measured = np.array(taken[WARM_UP:])
    p50, p99 = (1000 * np.quantile(measured, (0.5, 0.99))).tolist()
    return Row(
        way=f"{name}, batches of {batch}",
        rows_per_s=batch * len(measured) / measured.sum(),
        p50_ms=p50,
        p99_ms=p99,
        mean_batch=batch,
    )


def agree(graphs: TorchEncoder, plain: TorchEncoder, rows: Sequence[Sequence[int]]) -> None:
    """Refuse to measure an encoder whose graphs embed batches of mixed lengths otherwise than its kernels do alone.

    Raises:
        ModelError: With the smallest cosine.
    """
    for count in (1, 3, 64, 130):
        part = [[*row, *rows[0]] if number % 3 == 0 else row for number, row in enumerate(rows[:count])]
        cosine = float((graphs.embed_ids(part, pad_id=0) * plain.embed_ids(part, pad_id=0)).sum(axis=1).min())
        if not cosine >= SMALLEST_COSINE:
            raise ModelError(f"graphs must embed as without: cosine of at least {SMALLEST_COSINE}, got {cosine:.6f}")


def lay_out(models: Path, model: Path, contract: TextContract, instances: int) -> None:
    """Make a repository of the encoder alone, from the templates that an export fills in."""
    version = models / ENCODER / "1"
    version.mkdir(parents=True)
    config = (TEMPLATES / ENCODER / "configs" / "torch.pbtxt").read_text(encoding="utf-8")
    count = "count: 1"
    if count not in config:
        raise ValueError(f"the template must have '{count}', got {config}")
    (models / ENCODER / "config.pbtxt").write_text(config.replace(count, f"count: {instances}"), encoding="utf-8")
    shutil.copyfile(TEMPLATES / ENCODER / "1" / "torch_model.py", version / "torch_model.py")
    Identity(id="bench", serial=1, encoder_fingerprint="bench", query_tokens=QUERY_TOKENS).save(version)
    (version / WEIGHTS).symlink_to(model.resolve())
    (models / "tokenizer" / "1").mkdir(parents=True)
    contract.save(models / "tokenizer" / "1")


def served(
    analyzer: PerfAnalyzer, models: Path, input_file: Path, instances: int, clients: Sequence[int], seconds: float
) -> list[Row]:
    """Return what each number of clients saw of a server with so many instances."""
    http_port, grpc_port, metrics_port = free_ports(3)
    config = ServerConfig(
        model_repository=models,
        load_models=(ENCODER,),
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        start_timeout_s=300,
    )
    rows = []
    with TritonServer(config) as server:
        target = Target(url=server.urls.grpc, protocol="grpc", model=ENCODER)
        for count in clients:
            before = server.statistics(ENCODER)
            found = analyzer.measure(target, Load(clients=count), input_file, window_s=seconds / 3)
            after = server.statistics(ENCODER)
            batches = max(after.executions - before.executions, 1)
            rows.append(
                Row(
                    way=f"served, {instances} instance{'s' if instances > 1 else ''}, {count} clients",
                    rows_per_s=found.searches_per_s,
                    p50_ms=found.p50_ms,
                    p99_ms=found.p99_ms,
                    mean_batch=(after.inferences - before.inferences) / batches,
                )
            )
            say(rows[-1])
    return rows


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Return all rows."""
    model = options.model or write_random_model(folder / "model", E5_LARGE)
    contract = TextContract()
    tokenizer = TextTokenizer.load(model, contract)
    token_ids = tokenizer.token_ids(draw_queries(options.queries, count=options.count), "query")
    input_file = write_rows_input(token_ids, folder / "rows.json")
    longest = max(contract.query_max_tokens, contract.product_max_tokens)
    buckets = Buckets.of_lengths(QUERY_TOKENS, longest)
    ways = {
        "in process": TorchEncoder.load(model, contract, buckets),
        "in process without graphs": TorchEncoder.load(model, contract, buckets, graphs=False),
    }
    agree(*ways.values(), token_ids)
    found = []

    def measure_in_process(when: str) -> None:
        for batch in options.batches:
            for name, encoder in ways.items():
                found.append(in_process(f"{name} {when}", encoder, token_ids, batch, options.seconds))
                say(found[-1])

    measure_in_process("before")
    analyzer = find_perf_analyzer()
    for instances in options.instances:
        lay_out(folder / f"models-{instances}", model, contract, instances)
        found += served(
            analyzer, folder / f"models-{instances}", input_file, instances, options.clients, options.seconds
        )
    measure_in_process("after")
    return found


def say(row: Row) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{row.way}: {row.rows_per_s:.0f}/s\n")


def main() -> int:
    """Measure and print."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=Path, required=True, help="a file with a column query")
    parser.add_argument("--count", type=int, default=2000, help="queries to draw")
    parser.add_argument("--model", type=Path, help="a model folder; without: e5-large-v2's shape, random weights")
    parser.add_argument("--batches", type=numbers, default=[1, 8, 32, 64])
    parser.add_argument("--clients", type=numbers, default=[1, 2, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--instances", type=numbers, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring, for each row")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            rows = measure(options, Path(scratch))
        except TridentError as error:
            sys.stderr.write(f"bench/gpu_encoder.py: {error}\n")
            return 1
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    if options.json:
        sys.stdout.write(json.dumps({"device": device, "rows": [asdict(row) for row in rows]}) + "\n")
        return 0
    sys.stdout.write(f"{device}\n| way | rows/s | p50 ms | p99 ms | batch |\n| --- | ---: | ---: | ---: | ---: |\n")
    for row in rows:
        figures = f"{row.rows_per_s:.0f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} | {row.mean_batch:.1f}"
        sys.stdout.write(f"| {row.way} | {figures} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
