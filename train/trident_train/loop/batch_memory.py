"""Measures how much memory a step of a recipe takes, and finds the largest batch under a limit.

Every measurement is a process of its own, so that none sees what another left behind:

    echo '{"recipe": {"data": {"pairs": "pairs.csv"}}, "batch_size": 64}' | python -m trident_train.loop.batch_memory
"""

from __future__ import annotations

import dataclasses
import gc
import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trident.config import from_table, to_table
from trident.errors import ConfigError, TridentError
from trident_train.loop.batches import gather_batch
from trident_train.loop.single_steps import training_of
from trident_train.recipe import TrainRecipe

PRECISION = 0.06  # of the largest batch
FASTEST_GROWTH = 4  # times the largest batch known to fit: a wrong guess must not take the machine down
LARGEST_BATCH = 65536  # pairs; nobody needs more
HEADROOM = 0.25  # of the limit, that a process may go over it before it is stopped: enough to see by how much
LEAST_HEADROOM = 512 * 2**20  # bytes
ALLOCATION_FAILED = re.compile(  # the last two: oneDNN's tensors and its compiled code
    r"allocate memory|bad_alloc|out of memory|MemoryError|create a memory|create a primitive", re.IGNORECASE
)
KILLED = -9  # by the kernel, when the machine runs out of memory


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One batch size tried; ``peak_bytes`` is None where memory ran out."""

    batch_size: int
    peak_bytes: int | None


class OutOfMemoryError(ConfigError):
    """A batch needs more memory than there is."""


def step_memory(recipe: TrainRecipe, batch_size: int, *, limit_bytes: int | None = None) -> int:
    """Return the peak memory in bytes of an optimisation step at ``batch_size``, measured in a process of its own.

    Two real steps are taken (the second finds the optimiser's state in memory), in the recipe's arm, precision, loss
    and checkpointing, on texts of random tokens that are all as long as the text contract allows: the worst case. On a
    GPU it is what PyTorch allocated; on a CPU the resident memory of the whole process, libraries included, from when
    the model is loaded.

    Args:
        recipe: What to train; its data is not read.
        batch_size: Units a batch, as in ``optimizer.batch_size``: pairs, or a positive with its negatives.
        limit_bytes: On a CPU the process is stopped when it goes far over this; None: never.

    Raises:
        OutOfMemoryError: If memory runs out.
        ConfigError: If the recipe does not run here.
    """
    order = {"recipe": to_table(recipe), "batch_size": batch_size, "limit_bytes": limit_bytes}
    child = subprocess.run(
        [sys.executable, "-m", "trident_train.loop.batch_memory"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode == 0:
        answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
        if "refused" in answer:
            raise ConfigError(answer["refused"])
        if answer["peak_bytes"] is not None:
            return int(answer["peak_bytes"])
    elif child.returncode != KILLED and not ALLOCATION_FAILED.search(child.stderr):
        reason = (child.stderr.strip().splitlines() or ["no output"])[-1]
        raise ConfigError(f"a step of {batch_size} pairs ended with status {child.returncode}: {reason}")
    raise OutOfMemoryError(
        f"a batch of {batch_size} must fit into memory, but it ran out: take a smaller optimizer.batch_size, shorter "
        "texts or optimizer.gradient_checkpointing"
    )


def largest_batch(
    recipe: TrainRecipe,
    limit_bytes: int,
    *,
    most: int = LARGEST_BATCH,
    progress: Callable[[Measurement], None] = lambda _: None,
) -> int:
    """Return the largest batch whose step stays within a memory limit, to within 6% (a smaller one, never a larger).

    Memory grows in proportion to the batch, so each try goes where a line through two others meets the limit; where
    that tells nothing, halfway.

    Args:
        recipe: What to train; its own batch size does not matter.
        limit_bytes: Of what ``step_memory`` measures.
        most: No larger batch is tried.
        progress: Called after each try.

    Raises:
        ConfigError: If not even the smallest batch fits, or the recipe does not run here.
    """
    smallest = 2 if recipe.loss.in_batch() else 1
    fitting: list[Measurement] = []
    too_large = Measurement(batch_size=most + 1, peak_bytes=None)  # the smallest batch known not to fit
    candidate = smallest
    while True:
        tried = _try(recipe, candidate, limit_bytes)
        progress(tried)
        if tried.peak_bytes is not None and tried.peak_bytes <= limit_bytes:
            fitting.append(tried)
        elif not fitting:
            needs = "memory ran out" if tried.peak_bytes is None else f"it takes {_readable(tried.peak_bytes)}"
            raise ConfigError(
                f"not even a batch of {smallest} fits into {_readable(limit_bytes)}: {needs}; give more memory, take "
                "shorter texts, a smaller model, method 'lora' or optimizer.gradient_checkpointing"
            )
        else:
            too_large = tried
        fits = fitting[-1].batch_size
        if too_large.batch_size - fits <= max(1, int(fits * PRECISION)):
            return fits
        candidate = _next(fitting, too_large, limit_bytes)


def _try(recipe: TrainRecipe, batch_size: int, limit_bytes: int) -> Measurement:
    try:
        return Measurement(batch_size=batch_size, peak_bytes=step_memory(recipe, batch_size, limit_bytes=limit_bytes))
    except OutOfMemoryError:
        return Measurement(batch_size=batch_size, peak_bytes=None)


def _next(fitting: list[Measurement], too_large: Measurement, limit_bytes: int) -> int:
    """Return a batch size between the largest that fits and the smallest that does not."""
    last = fitting[-1]
    nearest = last.batch_size + max(1, int(last.batch_size * PRECISION))  # if this does not fit, the search is over
    furthest = min(last.batch_size * FASTEST_GROWTH, too_large.batch_size - 1)
    other = fitting[-2] if too_large.peak_bytes is None and len(fitting) > 1 else too_large
    guess = furthest if too_large.peak_bytes is None and len(fitting) == 1 else (nearest + furthest) // 2
    if other.peak_bytes is not None and last.peak_bytes is not None:
        bytes_a_unit = (other.peak_bytes - last.peak_bytes) / (other.batch_size - last.batch_size)
        if bytes_a_unit > 0:
            guess = last.batch_size + int((limit_bytes - last.peak_bytes) / bytes_a_unit)
    return min(max(guess, nearest), furthest)


def _readable(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def measure(recipe: TrainRecipe, batch_size: int, limit_bytes: int | None) -> int:
    """Return the peak memory in bytes of two steps in this process."""
    options = dataclasses.replace(recipe.optimizer, batch_size=batch_size)
    recipe = dataclasses.replace(recipe, optimizer=options, tracker="none")
    if recipe.method == "none":
        raise ConfigError("method must be 'lora' or 'full' to measure a step, got 'none', which takes none")
    training = training_of(recipe)
    gc.collect()
    on_gpu = training.accelerator.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        _start_watching(limit_bytes)
    training.wrapped.train()
    batch = gather_batch(training.sources[0], training.plan(1)[0])
    for _ in range(2):
        training.run_step([batch] * min(options.gradient_accumulation, 2))
    return int(torch.cuda.max_memory_allocated()) if on_gpu else _status("VmHWM")


def _start_watching(limit_bytes: int | None) -> None:
    """Forget the peak so far (loading maps the weights twice), and have allocation fail far above the limit.

    ``ru_maxrss`` would not do: a process inherits it from the one that started it.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM, see proc(5)
    if limit_bytes is not None:
        allowed = max(limit_bytes + max(int(limit_bytes * HEADROOM), LEAST_HEADROOM) - _status("VmRSS"), 0)
        allowed += _status("VmData")
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(
            resource.RLIMIT_DATA, (allowed if hard == resource.RLIM_INFINITY else min(allowed, hard), hard)
        )


def _status(name: str) -> int:
    """Return a size of this process in bytes from ``/proc/self/status``."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ConfigError(f"memory can be measured on Linux only: /proc/self/status has no {name}")


def main() -> int:
    """Measure what standard input asks for; print JSON with ``peak_bytes`` (null: memory ran out) or ``refused``."""
    order = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        recipe = from_table(TrainRecipe, order["recipe"], where="standard input")
        answer = {"peak_bytes": measure(recipe, order["batch_size"], order.get("limit_bytes"))}
    except TridentError as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"peak_bytes": None}
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises the bare class
        if not ALLOCATION_FAILED.search(str(error)):
            raise
        answer = {"peak_bytes": None}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
