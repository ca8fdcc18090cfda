"""Measures LoRA against full fine-tuning: seconds a step at equal batch, peak memory, and the largest batch that fits.

    python bench/lora_against_full.py --config-only --precision bf16 --memory-limit 16GiB --json   # e5-large-v2, a GPU
    python bench/lora_against_full.py --config-only --layers 2 --width 64 --heads 4 --intermediate 256 \
        --precision no --batch-size 4                                                              # a minute, a CPU

The recipe gives lengths, loss, adapters and batch; texts are random tokens as long as the text contract allows, so no
data is read. ``--config-only`` makes a model of the given shape with random weights, so no hub is needed either: time
and memory do not depend on the values. The arms take their steps turn by turn, so that noise hits all of them. The
original found LoRA 1.35 times as fast an epoch, with twice the batch.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from program import parser_of, run, wait_for_device
from rich.console import Console
from rich.table import Table

from trident.config import load_recipe
from trident.errors import ConfigError
from trident_train.loop.batch_memory import Measurement, largest_batch, step_memory
from trident_train.loop.batches import gather_batch
from trident_train.loop.single_steps import training_of
from trident_train.loop.sizes import parse_size
from trident_train.model.arms import trained_weights
from trident_train.model.random_model import ModelShape, write_random_model
from trident_train.recipe import TrainRecipe
from trident_train.report.report import environment

RECIPE = Path(__file__).parents[1] / "train" / "recipes" / "esci-e5-large-v2.toml"
Method = Literal["lora", "full"]
METHODS: tuple[Method, ...] = ("lora", "full")
CHECKPOINTING = {"no": (False,), "yes": (True,), "both": (False, True)}
WARM_UP = 2  # steps of each arm that are not timed


@dataclass(frozen=True, kw_only=True)
class Row:
    """One arm; ``largest_batch`` is None where no memory limit was given, 0 where not even the smallest batch fits."""

    method: Method
    gradient_checkpointing: bool
    weights_trained: int
    step_seconds: float  # median
    step_seconds_low: float  # 10th percentile
    step_seconds_high: float  # 90th
    peak_bytes: int  # at the recipe's batch
    largest_batch: int | None


class Stepper:
    """An arm that takes steps on one batch."""

    def __init__(self, recipe: TrainRecipe) -> None:
        """Load the model and put a batch together."""
        self.recipe = recipe
        self.training = training_of(recipe)
        self.training.wrapped.train()
        self.batch = gather_batch(self.training.sources[0], self.training.plan(1)[0])
        self.seconds: list[float] = []

    def step(self) -> None:
        """Take a step and its time."""
        wait_for_device()
        started = time.perf_counter()
        self.training.run_step([self.batch])
        wait_for_device()
        self.seconds.append(time.perf_counter() - started)


def compare(
    recipe: TrainRecipe, *, steps: int, limit_bytes: int | None, checkpointing: tuple[bool, ...]
) -> dict[str, Any]:
    """Return what is printed."""
    arms = [_arm(recipe, method, each) for each in checkpointing for method in METHODS]
    # memory first: its processes would find a GPU half full of this one's models
    peaks = [step_memory(arm, arm.optimizer.batch_size) for arm in arms]
    largest = [None if limit_bytes is None else _largest(arm, limit_bytes) for arm in arms]
    steppers = [Stepper(arm) for arm in arms]
    for number in range(steps + WARM_UP):
        for stepper in steppers if number % 2 == 0 else reversed(steppers):
            stepper.step()
        sys.stderr.write(f"\rstep {number + 1} of {steps + WARM_UP}")
    sys.stderr.write("\n")
    rows = [_row(stepper, peak, batch) for stepper, peak, batch in zip(steppers, peaks, largest, strict=True)]
    return {
        "batch_size": recipe.optimizer.batch_size,
        "tokens": [recipe.text.query_max_tokens, recipe.text.product_max_tokens],
        "precision": recipe.optimizer.mixed_precision,
        "memory_limit_bytes": limit_bytes,
        "rows": [asdict(row) for row in rows],
        "full_over_lora": _full_over_lora(steppers, checkpointing),
        "environment": environment(steppers[0].training.accelerator),
    }


def _arm(recipe: TrainRecipe, method: Method, checkpointing: bool) -> TrainRecipe:
    options = dataclasses.replace(recipe.optimizer, gradient_checkpointing=checkpointing)
    return dataclasses.replace(recipe, method=method, optimizer=options)


def _largest(arm: TrainRecipe, limit_bytes: int) -> int:
    def progress(tried: Measurement) -> None:
        peak = "out of memory" if tried.peak_bytes is None else f"{tried.peak_bytes / 2**30:.2f} GiB"
        sys.stderr.write(f"{arm.method}: batch {tried.batch_size}: {peak}\n")

    try:
        return largest_batch(arm, limit_bytes, progress=progress)
    except ConfigError as error:
        sys.stderr.write(f"{arm.method}: {error}\n")
        return 0


def _row(stepper: Stepper, peak_bytes: int, batch: int | None) -> Row:
    low, median, high = np.quantile(stepper.seconds[WARM_UP:], (0.1, 0.5, 0.9)).tolist()
    return Row(
        method=stepper.recipe.method,  # type: ignore[arg-type]  # "none" is refused by the measurement of memory
        gradient_checkpointing=stepper.recipe.optimizer.gradient_checkpointing,
        weights_trained=trained_weights(stepper.training.encoder.model),
        step_seconds=median,
        step_seconds_low=low,
        step_seconds_high=high,
        peak_bytes=peak_bytes,
        largest_batch=batch,
    )


def _full_over_lora(steppers: list[Stepper], checkpointing: tuple[bool, ...]) -> dict[str, dict[str, float]]:
    """Return how many times LoRA's seconds a full step takes: the median over turns, with 10th and 90th percentile."""
    found: dict[str, dict[str, float]] = {}
    for number, each in enumerate(checkpointing):
        name = "gradient checkpointing" if each else "kept activations"
        lora, full = steppers[2 * number : 2 * number + 2]
        ratios = np.array(full.seconds[WARM_UP:]) / np.array(lora.seconds[WARM_UP:])  # (turns,)
        low, median, high = np.quantile(ratios, (0.1, 0.5, 0.9)).tolist()
        found[name] = {"median": median, "low": low, "high": high}
    return found


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    title = f"batches of {result['batch_size']} pairs, {result['precision']}, {result['environment']['device']}"
    columns = ("arm", "checkpointing", "weights trained", "seconds a step", "80% of steps", "peak GiB", "largest batch")
    table = Table(*columns, title=title)
    for row in (Row(**row) for row in result["rows"]):
        table.add_row(
            row.method,
            "yes" if row.gradient_checkpointing else "no",
            f"{row.weights_trained:,}",
            f"{row.step_seconds:.4f}",
            f"{row.step_seconds_low:.4f} to {row.step_seconds_high:.4f}",
            f"{row.peak_bytes / 2**30:.2f}",
            "-" if row.largest_batch is None else str(row.largest_batch),
        )
    console = Console(markup=False, emoji=False)
    console.print(table)
    for name, ratio in result["full_over_lora"].items():
        console.print(
            f"{name}: a full step takes {ratio['median']:.2f} times a LoRA step "
            f"({ratio['low']:.2f} to {ratio['high']:.2f})",
            highlight=False,
        )


def main() -> int:
    """Read the options, measure, print."""
    parser = parser_of(__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", action="append", default=[], help="key=value on top of the recipe")
    parser.add_argument(
        "--config-only", action="store_true", help="random weights of the shape below, not the recipe's"
    )
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--intermediate", type=int, default=4096)
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), help="default: the recipe's")
    parser.add_argument("--batch-size", type=int, help="pairs; default: the recipe's")
    parser.add_argument("--steps", type=int, default=20, help="timed, of each arm")
    parser.add_argument("--checkpointing", choices=tuple(CHECKPOINTING), default="both", help="of activations")
    parser.add_argument("--memory-limit", type=parse_size, help="such as 16GiB; also finds the largest batch under it")
    options = parser.parse_args()
    overrides = list(options.set)
    if options.precision:
        overrides.append(f"optimizer.mixed_precision={options.precision}")
    if options.batch_size:
        overrides.append(f"optimizer.batch_size={options.batch_size}")

    def measure(folder: Path) -> dict[str, Any]:
        if options.config_only:
            shape = {name: getattr(options, name) for name in ("layers", "width", "heads", "intermediate")}
            overrides.append(f"base_model={write_random_model(folder, ModelShape(**shape))}")
        return compare(
            load_recipe(TrainRecipe, options.recipe, overrides),
            steps=options.steps,
            limit_bytes=options.memory_limit,
            checkpointing=CHECKPOINTING[options.checkpointing],
        )

    return 1 if run(measure, show, as_json=options.json) is None else 0


if __name__ == "__main__":
    sys.exit(main())
