"""What a processor does while it trains: floating-point operations a second of its peak, and where the time goes.

    python bench/roofline.py train/recipes/demo.toml --set data.pairs=data/sample/pairs.csv [--steps 8] [--json]

Takes steps of a recipe's own loop on its own pairs, then embeds texts as judging does. Times are processor seconds of
all threads, so that what else runs counts less; the peak is a product of two large matrices, in float32 and in the
precision that is trained in. Operations are those of the products alone: twice the weights of the linear layers a token
and the two products of attention, over tokens with padding; backward as often again for the inputs, and once more for
weights that train.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from program import parser_of, run

from trident.encoder.base_model import find_model
from trident.encoder.tokenization import TextTokenizer
from trident_train.data.sources import load_sources
from trident_train.loop.batches import TokenizedBatch, gather_batch, plan_epoch, tokenize_pairs
from trident_train.loop.loop import Training, loss_of
from trident_train.loop.single_steps import training_of
from trident_train.model.encoder import length_groups
from trident_train.model.recipe_file import read_train_recipe
from trident_train.recipe import TrainRecipe

SIDE = 1024  # of the large matrices
PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GIGA = 1e9


@dataclass
class Stopwatch:
    """Processor seconds of each part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what runs inside under a name."""
        started = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What operations are counted by."""

    linear_weights: int  # of all layers, adapters included
    trained_share: float  # of these weights, how many train
    layers: int
    width: int

    @classmethod
    def of(cls, model: torch.nn.Module, layers: int) -> Shape:
        """Return the shape of a transformers model of so many layers, with adapters or without."""
        linear = [module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
        weights = [module.weight for module in linear if module.weight.shape[0] > 0 and _is_of_a_layer(module, model)]
        trained = sum(weight.numel() for weight in weights if weight.requires_grad)
        total = sum(weight.numel() for weight in weights)
        config: Any = model.config
        return cls(
            linear_weights=total,
            trained_share=trained / total,
            layers=layers,
            width=config.hidden_size,
        )

    def forward(self, groups: Sequence[tuple[int, int]]) -> float:
        """Return the operations of groups of (rows, tokens a row)."""
        tokens = sum(rows * length for rows, length in groups)
        attention = sum(4 * self.layers * rows * length * length * self.width for rows, length in groups)
        return 2.0 * self.linear_weights * tokens + attention

    def backward(self, groups: Sequence[tuple[int, int]]) -> float:
        """Return those of the way back: to the inputs of every product, and to the weights that train."""
        tokens = sum(rows * length for rows, length in groups)
        attention = self.forward(groups) - 2.0 * self.linear_weights * tokens
        return 2.0 * self.linear_weights * tokens * (1 + self.trained_share) + 2 * attention


def _is_of_a_layer(module: torch.nn.Linear, model: torch.nn.Module) -> bool:
    return any(found is module and "pooler" not in name for name, found in model.named_modules())


def peak(dtype: torch.dtype) -> float:
    """Return operations a processor second of a product of two large matrices; the best of five."""
    left, right = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    left @ right
    found = []
    for _ in range(5):
        started = time.process_time()
        left @ right
        found.append(2 * SIDE**3 / max(time.process_time() - started, 1e-9))
    return max(found)


def groups_of(rows: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return (rows, tokens a row) of each run that the loop makes of a side."""
    lengths = [len(row) for row in rows]
    return [(len(group), lengths[group[0]]) for group in length_groups(lengths)]


def take_step(training: Training, batch: TokenizedBatch, watch: Stopwatch) -> None:
    """Take the loop's step, in its parts."""
    with watch.part("forward"):
        embedded = training.embed(batch)
    with watch.part("loss"):
        loss = loss_of(embedded, training.recipe.loss)
    with watch.part("backward"):
        training.accelerator.backward(loss)
    with watch.part("clipping"):
        training.accelerator.clip_grad_norm_(training.wrapped.parameters(), training.recipe.optimizer.max_gradient_norm)
    with watch.part("optimizer"):
        training.optimizer.step()
        training.scheduler.step()
        training.optimizer.zero_grad()


def measure(recipe: TrainRecipe, steps: int, texts: int) -> dict[str, Any]:
    """Return the figures of a recipe.

    Args:
        recipe: As a training takes it.
        steps: That are timed.
        texts: Titles that are embedded as judging embeds them.
    """
    watch = Stopwatch()
    with watch.part("reading and auditing"):
        source = load_sources(recipe.data)[0]
    with watch.part("tokenizing"):
        pairs = tokenize_pairs(source.parts.train, TextTokenizer.load(find_model(recipe.base_model), recipe.text))
    training = training_of(recipe, pairs)
    plan = plan_epoch([pairs], recipe.loss, recipe.optimizer, seed=recipe.seed, epoch=1)
    chosen = [plan[number % len(plan)] for number in range(steps + 1)]
    training.wrapped.train()
    take_step(training, gather_batch(pairs, chosen[0]), Stopwatch())  # the first calls of a process are slow
    taken, groups, own = Stopwatch(), [], 0
    for item in chosen[1:]:
        with taken.part("gathering"):
            batch = gather_batch(pairs, item)
        for rows in (batch.query_rows, batch.product_rows):
            groups += groups_of(rows)
            own += sum(map(len, rows))
        take_step(training, batch, taken)
    frozen, layers = training.encoder.frozen, int(training.encoder.model.config.num_hidden_layers)
    trained = training.encoder.model if frozen is None else frozen.upper  # what a step runs
    shape = Shape.of(trained, layers if frozen is None else layers - frozen.count)
    tokens = sum(rows * length for rows, length in groups)
    precision = training.accelerator.mixed_precision
    peaks = {name: peak(PRECISIONS[name]) for name in dict.fromkeys(("no", precision))}
    titles = list(dict.fromkeys(source.parts.train.titles))[:texts]
    judged = Stopwatch()
    with judged.part("embedding"):
        training.encoder.embed(titles, "product")
    seconds = sum(taken.seconds.values())
    products = {"forward": shape.forward(groups), "backward": shape.backward(groups)}
    return {
        "steps": steps,
        "steps_an_epoch": len(plan),
        "pairs_a_step": sum(len(item.pairs) for item in chosen[1:]) / steps,
        "tokens_a_step": tokens / steps,
        "padding_share": 1 - own / tokens,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "peak_gflops": {name: value / GIGA for name, value in peaks.items()},
        "gflops": {name: products[name] / taken.seconds[name] / GIGA for name in products},
        "of_peak": {name: products[name] / taken.seconds[name] / peaks[precision] for name in products},
        "step_s": seconds / steps,
        "shares": {name: value / seconds for name, value in taken.seconds.items()},
        "before_s": watch.seconds,
        "embedded_a_second": len(titles) / judged.seconds["embedding"],
    }


def show(found: dict[str, Any]) -> None:
    """Print it."""
    sys.stdout.write(
        f"{found['steps']} steps of {found['pairs_a_step']:.0f} pairs, {found['tokens_a_step']:,.0f} tokens "
        f"({found['padding_share']:.1%} of them padding), {found['precision']}, {found['threads']} threads: "
        f"{found['step_s']:.2f} processor seconds a step, {found['steps_an_epoch']} steps an epoch\n"
        f"texts embedded for judging: "
        f"{found['embedded_a_second']:.0f} a processor second\n"
    )
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in found["peak_gflops"].items())
    sys.stdout.write(f"peak, GFLOP a processor second: {peaks}\n| part | share | GFLOP/s | of the peak |\n")
    sys.stdout.write("| --- | ---: | ---: | ---: |\n")
    for name, share in found["shares"].items():
        speed = f"{found['gflops'][name]:.0f} | {found['of_peak'][name]:.0%}" if name in found["gflops"] else " | "
        sys.stdout.write(f"| {name} | {share:.1%} | {speed} |\n")


def main() -> int:
    """Read the options, measure, print."""
    parser: argparse.ArgumentParser = parser_of(__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--texts", type=int, default=2000, help="titles embedded as for judging, at most")
    options = parser.parse_args()

    def measured(_: Path) -> dict[str, Any]:
        recipe, _said = read_train_recipe(options.recipe, options.set)
        return measure(recipe, options.steps, options.texts)

    return 1 if run(measured, show, as_json=options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
