"""Several processes share the texts of a batch: each embeds its part, all see every embedding.

The loss is then computed over the whole batch by every process, so that it is the same number whatever their count:
in-batch negatives, CoSENT's comparisons and the mean over pairs all span the processes.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed
import torch.distributed.nn.functional
import torch.utils.deterministic
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from numpy.typing import NDArray
from torch import Tensor

from trident.config import to_table
from trident.errors import ConfigError, MissingExtraError
from trident_train.recipe import TrainRecipe

# What oneDNN compiles for each shape of a product: every step has shapes of its own, and 1,024 of them, which it keeps
# by itself, are gigabytes (docs/log/training.md). A step of some layers and lengths has about a hundred.
PRIMITIVES_KEPT = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

TRACKER_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


@dataclass(frozen=True)
class Share:
    """Which rows of a batch this process embeds.

    ``order`` holds all row numbers, longest first, repeated at the end until every process has as many; process r takes
    every ``processes``-th from r on.
    """

    order: tuple[int, ...]
    rank: int
    processes: int

    @classmethod
    def of(cls, lengths: Sequence[int], accelerator: Any) -> Share:
        """Return the share of this process of rows of the given lengths, in tokens."""
        order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
        missing = -len(order) % accelerator.num_processes
        order += order[-1:] * missing
        return cls(tuple(order), accelerator.process_index, accelerator.num_processes)

    @property
    def mine(self) -> tuple[int, ...]:
        """Row numbers of this process."""
        return self.order[self.rank :: self.processes]

    def gather(self, embeddings: Tensor, count: int) -> Tensor:
        """Return the embeddings (count, D) of all rows from those (M, D) of each process; gradients flow to each."""
        if self.processes == 1:
            together = embeddings
        else:
            parts = torch.distributed.nn.functional.all_gather(embeddings)  # processes times (M, D)
            together = torch.stack(parts, dim=1).flatten(0, 1)  # (M * processes, D), in the order of ``order``
        place = torch.empty(count, dtype=torch.int64)
        place[torch.tensor(self.order)] = torch.arange(len(self.order))
        return together[place.to(together.device)]


@contextmanager
def same_sums(device: torch.device) -> Iterator[None]:
    """Have a CPU's threads add up in the same order each time, while the context lasts; other devices do as they do.

    Where rows were taken from a tensor more than once, PyTorch adds up their gradients (32,768 numbers or more) in
    whatever order its threads come, unless it is told to be deterministic.
    """
    memory: Any = torch.utils.deterministic  # what is deterministic fills it before use, which only costs time here
    on, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = memory.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(mode=True)
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=on, warn_only=warns)
        memory.fill_uninitialized_memory = filled


def share_of(accelerator: Any) -> tuple[int, int]:
    """Return (number of this process, number of processes); (0, 1) without an accelerator."""
    return (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)


def gather_rows(part: NDArray[np.float32], accelerator: Any) -> NDArray[np.float32]:
    """Return the rows of all processes, (sum of M, D), from those (M, D) of each, in the order of the processes."""
    if accelerator is None or accelerator.num_processes == 1:
        return part
    parts: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(parts, part)
    return np.concatenate(parts)


def accelerator_of(recipe: TrainRecipe, *, tracking: Path) -> Accelerator:
    """Return the accelerator of this process, in the recipe's precision and with its tracker.

    Args:
        recipe: Precision and tracker.
        tracking: Where the tracker will write.

    Raises:
        ConfigError: If the device has no such precision.
        MissingExtraError: If the tracker is not installed.
    """
    os.environ.setdefault(*PRIMITIVES_KEPT)
    tracker = recipe.tracker
    if tracker != "none" and importlib.util.find_spec(TRACKER_PACKAGES[tracker]) is None:
        raise MissingExtraError(f"tracker '{tracker}' is not installed: run pip install 'trident-search[trackers]'")
    AcceleratorState._reset_state()  # else a second run in this process keeps the precision of the first
    precision = recipe.optimizer.mixed_precision
    if precision == "auto":
        precision = fastest_precision()
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            log_with=None if tracker == "none" else tracker,
            project_dir=str(tracking),
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
    except ValueError as error:
        raise ConfigError(f"optimizer.mixed_precision '{precision}' does not run here: {error}") from error
    if precision == "fp16" and accelerator.device.type == "cpu":  # Accelerate lets it, and every step is lost
        raise ConfigError("optimizer.mixed_precision 'fp16' needs a GPU, got a CPU: take 'bf16' or 'no'")
    return accelerator


def fastest_precision() -> Literal["no", "fp16", "bf16"]:
    """Return the fastest precision that this machine computes in; CPUs without bfloat16 are far slower in it."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "no"


def start_tracker(accelerator: Accelerator, recipe: TrainRecipe, *, tracking: Path, after: int | None = None) -> None:
    """Start the recipe's tracker; what it writes lies in ``tracking``.

    Args:
        accelerator: Made by ``accelerator_of`` for the same recipe.
        recipe: Which tracker; kept by it as the run's settings.
        tracking: Its folder, made if it is not there.
        after: The step that an interrupted run goes on from: TensorBoard forgets what it saw of later ones. None: the
            run starts anew.
    """
    if recipe.tracker == "none":
        return
    if accelerator.is_main_process:
        tracking.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in _flat(to_table(recipe)).items()}
    options = {
        "tensorboard": {"purge_step": None if after is None else after + 1},
        "wandb": {
            "dir": str(tracking),
            "mode": os.environ.get("WANDB_MODE", "offline"),
            "settings": {"silent": True, "console": "off"},  # our command line speaks, and is nobody else's to record
        },
    }
    accelerator.init_trackers("trident", config=settings, init_kwargs=options)


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
