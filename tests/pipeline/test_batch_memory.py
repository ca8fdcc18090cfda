"""Memory of real steps, measured in processes of their own, and the largest batch under a limit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from trident.encoder.text import TextContract
from trident.errors import ConfigError
from trident_train.loop.batch_memory import ALLOCATION_FAILED, Measurement, largest_batch, step_memory
from trident_train.loop.batches import gather_batch, plan_epoch
from trident_train.loop.single_steps import random_pairs
from trident_train.loop.sizes import parse_size
from trident_train.model.random_model import ModelShape, write_random_model
from trident_train.recipe import DataRecipe, LossRecipe, NegativesRecipe, OptimizerRecipe, TrainRecipe

SMALL = ModelShape(layers=2, width=64, heads=4, intermediate=256)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="module")
def recipe(small_model: Path) -> TrainRecipe:
    return TrainRecipe(
        base_model=str(small_model),
        data=DataRecipe(pairs="never-read.csv"),
        text=TextContract(query_max_tokens=128, product_max_tokens=128),
    )


@pytest.fixture(scope="module")
def eight(recipe: TrainRecipe) -> int:
    return step_memory(recipe, 8)


def test_a_larger_batch_takes_more_memory(recipe: TrainRecipe, eight: int) -> None:
    assert step_memory(recipe, 64) > eight + 50 * 2**20


def test_full_fine_tuning_takes_more_than_lora(recipe: TrainRecipe) -> None:
    weights = 30522 * 64 * 4  # bytes of the word embeddings: a gradient and two moments for each
    full, lora = (step_memory(dataclasses.replace(recipe, method=method), 1) for method in ("full", "lora"))
    assert full > lora + weights  # three times that, seen; what a process takes beside differs by half of it


def test_the_largest_batch_fits_and_a_larger_one_does_not(recipe: TrainRecipe, eight: int) -> None:
    limit = eight + 100 * 2**20
    tried: list[Measurement] = []
    found = largest_batch(recipe, limit, progress=tried.append)
    peaks = {one.batch_size: one.peak_bytes for one in tried}
    assert found > 8
    assert peaks[found] is not None
    assert peaks[found] <= limit
    too_large = min(size for size, peak in peaks.items() if peak is None or peak > limit)
    assert found < too_large <= found + max(1, found * 0.06)


def test_no_batch_above_the_cap_is_tried(recipe: TrainRecipe) -> None:
    tried: list[Measurement] = []
    assert largest_batch(recipe, parse_size("16GiB"), most=3, progress=tried.append) == 3
    assert [one.batch_size for one in tried] == [1, 3]


def test_a_limit_below_the_model_is_refused(recipe: TrainRecipe) -> None:
    with pytest.raises(ConfigError, match=r"not even a batch of 1 fits into 0\.01 GiB: .*; give more memory"):
        largest_batch(recipe, parse_size("10MiB"))


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:134] . DefaultCPUAllocator: can't allocate memory",
        "could not create a memory object",  # oneDNN's
        "could not create a primitive",  # oneDNN's too: no memory for the code that it compiles
        "CUDA out of memory. Tried to allocate 2.00 GiB",
    ],
)
def test_what_libraries_say_when_memory_runs_out_is_known(message: str) -> None:
    assert ALLOCATION_FAILED.search(f"RuntimeError: {message}")


def test_an_arm_that_trains_nothing_is_refused(recipe: TrainRecipe) -> None:
    with pytest.raises(ConfigError, match="method must be 'lora' or 'full' to measure a step, got 'none'"):
        step_memory(dataclasses.replace(recipe, method="none"), 1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("3.5GB", 3_500_000_000),
        ("800M", 800_000_000),
        ("1 kib", 1024),
        ("12", 12),
        (".5TB", 5 * 10**11),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "4 gigs", "-1GB", "0", "0.2", "1e9", "4 GiB more"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a size must be a number of bytes with a unit, such as 4GiB"):
        parse_size(text)


def test_infonce_batches_hold_their_negatives(recipe: TrainRecipe, tmp_path: Path) -> None:
    infonce = dataclasses.replace(
        recipe,
        data=DataRecipe(pairs="never-read.csv", catalogue=tmp_path / "never-read.csv"),
        loss=LossRecipe(name="infonce", hard_negatives=2),
        negatives=NegativesRecipe(mined=1),
        optimizer=OptimizerRecipe(batch_size=5),
    )
    pairs = random_pairs(infonce, 1000)
    plan = plan_epoch([pairs], infonce.loss, infonce.optimizer, seed=0, epoch=1, mined=1)
    batch = gather_batch(pairs, plan[0])
    assert len(plan) == 1
    assert (len(batch.query_rows), len(batch.product_rows)) == (5, 20)
    assert int(batch.positives.sum()) == 5
    assert {len(row) for row in [*batch.query_rows, *batch.product_rows]} == {128}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "width must be a multiple of heads, got width 64 and 3 heads"),
        ({"vocab_size": 100}, "vocab_size must be >= 30522"),
        ({"layers": 0}, "a model needs layers"),
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        write_random_model(tmp_path, dataclasses.replace(SMALL, **change))
