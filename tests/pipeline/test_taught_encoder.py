"""A reranker teaches an encoder: the student follows its teacher, not the labels; what a run keeps, what is refused."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from trident.data.pairs import Pairs
from trident.errors import ConfigError, DataError, ModelError, TridentError
from trident.generation.generation import Generation
from trident_train.data.sources import read_sources
from trident_train.loop.batches import plan_epoch
from trident_train.loop.loop import Step
from trident_train.model.encoder import Encoder
from trident_train.recipe import (
    CheckpointRecipe,
    LoraRecipe,
    LossRecipe,
    NegativesRecipe,
    OptimizerRecipe,
    RerankerRecipe,
    SourceRecipe,
    TrainRecipe,
)
from trident_train.report.run_files import read_json, read_recipe
from trident_train.report.run_folder import load_run
from trident_train.reranker.distillation import (
    Lesson,
    Teacher,
    learn,
    load_teacher,
    made_pairs,
    run_fingerprint,
    with_made,
)
from trident_train.reranker.model import CrossEncoder
from trident_train.run import Event, Stage, train

WEIGHTS = "adapter/adapter_model.safetensors"


class StoppedError(Exception):
    """Stands for the end of a process."""


@pytest.fixture(scope="module")
def teacher(tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a reranker with strong preferences, against the labels as often as not."""
    recipe = replace(
        tiny_recipe,
        stage="reranker",
        method="full",
        data=replace(tiny_recipe.data, catalogue=tiny_data / "products.csv"),
        loss=LossRecipe(name="pairwise", hard_negatives=2),
        optimizer=OptimizerRecipe(epochs=1, batch_size=16, learning_rate=1e-3),
    )
    folder = tmp_path_factory.mktemp("teachers") / "reranker"
    train(recipe, folder)
    path = folder / "model" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"] *= 10_000
    save_file(weights, path, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def recipe(tiny_recipe: TrainRecipe, tiny_data: Path, teacher: Path) -> TrainRecipe:
    """Return the recipe of an encoder that learns that teacher's margins."""
    return replace(
        tiny_recipe,
        data=replace(tiny_recipe.data, catalogue=tiny_data / "products.csv"),
        lora=LoraRecipe(rank=8, targets=("all-linear",)),
        loss=LossRecipe(name="margin", hard_negatives=2),
        negatives=NegativesRecipe(mined=2, from_rank=1, to_rank=10),
        optimizer=OptimizerRecipe(epochs=3, batch_size=16, learning_rate=1e-2),
        reranker=RerankerRecipe(teacher=teacher),
    )


def margins(scores: NDArray[np.float32], pairs: Pairs) -> NDArray[np.float32]:
    """Return by how much each relevant pair is above each irrelevant one of its query."""
    found = [
        scores[above] - scores[below]
        for above in np.flatnonzero(pairs.labels == 1).tolist()
        for below in np.flatnonzero(pairs.labels == 0).tolist()
        if pairs.queries[above] == pairs.queries[below]
    ]
    return np.array(found, dtype=np.float32)


def cosines(encoder: Encoder, pairs: Pairs) -> NDArray[np.float32]:
    """Return the cosine of each pair."""
    queries, products = encoder.embed(pairs.queries, "query"), encoder.embed(pairs.titles, "product")
    return np.einsum("pd,pd->p", queries, products)


def reranker_of(run: Path) -> CrossEncoder:
    """Return the teacher."""
    return load_teacher(run, read_recipe(run), read_json(run / "base.json")["weights_fingerprint"])


def test_the_student_follows_its_teacher_and_not_the_labels(
    recipe: TrainRecipe, teacher: Path, tiny_model: Path, tmp_path: Path
) -> None:
    once = replace(recipe.optimizer, epochs=1)  # else labels choose the epoch that contradicts them least
    losses: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Step):
            losses.append(event.loss)

    train(replace(recipe, data=replace(recipe.data, repeat=12), optimizer=once), tmp_path / "run", report=hear)
    assert sum(losses[-5:]) < sum(losses[:5]) / 4
    (source,) = read_sources(recipe)
    pairs = source.parts.train
    taught = margins(reranker_of(teacher).score(pairs.queries, pairs.titles), pairs)
    before = margins(cosines(Encoder.load(tiny_model, recipe.text), pairs), pairs)
    after = margins(cosines(load_run(tmp_path / "run"), pairs), pairs)
    against = taught < 0
    assert 0.25 < np.mean(against) < 0.75
    assert np.mean((before < 0) == against) < 0.65
    assert np.mean((after < 0) == against) > 0.85
    assert np.corrcoef(before, taught)[0, 1] < 0.5
    assert np.corrcoef(after, taught)[0, 1] > 0.9
    assert np.abs(after).mean() / recipe.loss.temperature == pytest.approx(np.abs(taught).mean(), rel=0.3)


def test_a_run_says_who_taught_it(recipe: TrainRecipe, teacher: Path, tmp_path: Path) -> None:
    """Of frozen lower layers, batches by product, made queries, a share of InfoNCE and two sources."""
    data, first = recipe.data, SourceRecipe(pairs=recipe.data.pairs, catalogue=recipe.data.catalogue)
    both = replace(
        recipe,
        data=replace(data, pairs="", catalogue=None, sources={"one": first, "two": replace(first, catalogue=None)}),
        lora=replace(recipe.lora, top_layers=1),
        loss=replace(recipe.loss, teacher_share=0.5),
        reranker=replace(recipe.reranker, made_queries=20),
        optimizer=replace(recipe.optimizer, epochs=3, batches="by_product"),
    )
    told: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Stage):
            told.append(event.name)

    report = train(both, tmp_path / "run", report=hear)
    assert report.trained is not None
    first_epoch, *_, last = report.trained.epochs
    assert last.mean_loss < first_epoch.mean_loss
    base = read_json(tmp_path / "run" / "base.json")
    assert base["teacher_fingerprint"] == run_fingerprint(teacher, base["weights_fingerprint"])
    asked = [name for name in told if name.startswith("asking the teacher: ")]
    done, total = re.fullmatch(r"asking the teacher: ([\d,]+) of ([\d,]+) pairs", asked[-1]).groups()  # type: ignore[union-attr]
    assert done == total
    assert "teacher_fingerprint" not in read_json(teacher / "base.json")
    load_run(tmp_path / "run")


def test_candidates_of_a_generation_are_mined(recipe: TrainRecipe, generation: Generation, tmp_path: Path) -> None:
    served = replace(
        recipe,
        reranker=replace(recipe.reranker, first_stage=generation.folder),
        optimizer=replace(recipe.optimizer, epochs=1),
    )
    report = train(served, tmp_path / "run")
    assert report.trained is not None
    alone = RerankerRecipe(first_stage=generation.folder)  # mined without a teacher
    other = replace(served, data=replace(served.data, split_seed=7), loss=LossRecipe(name="infonce"), reranker=alone)
    with pytest.raises(DataError, match=r"the first stage must hold out the queries that its reranker is judged by"):
        train(other, tmp_path / "other")


def test_a_killed_run_ends_with_the_same_bits(recipe: TrainRecipe, teacher: Path, tmp_path: Path) -> None:
    kept = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    recipe = replace(
        recipe,
        lora=replace(recipe.lora, dropout=0.1),
        loss=replace(recipe.loss, teacher_share=0.5),
        reranker=replace(recipe.reranker, teacher=kept, made_queries=10),
        optimizer=replace(recipe.optimizer, epochs=2),
        checkpoint=CheckpointRecipe(every_steps=2),
    )

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, tmp_path / "run", report=stop)
    path = kept / "model" / "model.safetensors"
    whole = path.read_bytes()
    weights = load_file(path)
    weights["classifier.weight"] *= -1
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(TridentError, match=r"interrupted run with another teacher: .* or add --restart"):
        train(recipe, tmp_path / "run")
    path.write_bytes(whole)
    assert train(recipe, tmp_path / "run").resumed_from_step == 4
    train(recipe, tmp_path / "once")
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (tmp_path / "once" / WEIGHTS).read_bytes()


def test_the_teacher_is_asked_for_what_batches_hold(recipe: TrainRecipe, teacher: Path) -> None:
    recipe = replace(recipe, loss=replace(recipe.loss, positives_per_query=1), negatives=NegativesRecipe(mined=1))
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, epochs=2))
    (source,) = read_sources(recipe)
    assert source.catalogue is not None
    train_split = source.parts.train
    made = made_pairs(source.catalogue, set(), 5)
    pairs = with_made(train_split, made)
    mined = [(row, title) for row in range(len(pairs)) for title in source.catalogue.titles[:5]]
    lesson = Lesson(pairs, len(made), mined)
    reranker = reranker_of(teacher)
    tokenized = lesson.tokenized(reranker.tokenizer)
    relevant = int((train_split.labels == 1).sum())
    assert 0 < len(tokenized.positives) <= relevant  # what a query was made of is in no row of InfoNCE
    (taught,) = learn([tokenized], [lesson], Teacher(reranker, "f"), recipe)
    held = {
        pair
        for epoch in (1, 2)
        for plan in plan_epoch([taught], recipe.loss, recipe.optimizer, seed=recipe.seed, epoch=epoch, mined=1)
        for pair in plan.pairs
    }
    assert set(np.flatnonzero(np.isfinite(taught.grades)).tolist()) == held
    assert len(held) < len(taught.grades) / 2
    row, title = mined[next(each for each in sorted(held) if each >= len(pairs)) - len(pairs)]
    place = len(pairs) + mined.index((row, title))
    (alone,) = reranker_of(teacher).score([pairs.queries[row]], [title])
    assert taught.grades[place] == pytest.approx(alone, abs=1e-3)


def test_a_teacher_may_not_know_what_its_student_is_judged_by(recipe: TrainRecipe, tmp_path: Path) -> None:
    """Nor may it be an encoder, no run, or one that lost a file."""
    message = (
        r"the teacher must hold out the queries that its student is judged by, got \d+ that .* such as '.*': train "
    )
    with pytest.raises(DataError, match=message):
        train(replace(recipe, data=replace(recipe.data, split_seed=7)), tmp_path / "run")
    with pytest.raises(ModelError, match=r"is no run folder: it has no base\.json"):
        train(replace(recipe, reranker=RerankerRecipe(teacher=tmp_path / "nowhere")), tmp_path / "run")
    assert recipe.reranker.teacher is not None
    lost = Path(shutil.copytree(recipe.reranker.teacher, tmp_path / "lost"))
    (lost / "trained_queries.npy").unlink()
    with pytest.raises(ModelError, match=r"lost/trained_queries\.npy is missing or damaged: train again"):
        train(replace(recipe, reranker=RerankerRecipe(teacher=lost)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_encoder_is_no_teacher(recipe: TrainRecipe, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"reranker\.teacher must be the run of a reranker, got that of an encoder"):
        train(replace(recipe, reranker=RerankerRecipe(teacher=tiny_run)), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": {"name": "infonce"}}, "loss.name 'margin' and reranker.teacher go together, got 'infonce' and '"),
        ({"reranker": {"teacher": None}}, "go together, got 'margin' and none"),
        ({"reranker": {"layers": 2}}, "reranker.layers needs stage = 'reranker', got stage = 'encoder'"),
        ({"reranker": {"made_queries": 9}, "negatives": {"mined": 0}}, "made_queries needs reranker.teacher and negat"),
        ({"loss": {"hard_negatives": 0}, "negatives": {"mined": 0}}, "a list needs negatives: set loss.hard_negatives"),
        (
            {"reranker": {"first_stage": Path("g")}, "negatives": {"mined": 0}},
            "reranker.first_stage of an encoder needs negatives.mined above 0, got 0",
        ),
        ({"loss": {"teacher_share": 0.5}, "optimizer": {"batch_size": 1}}, "batch_size must be >= 2 to have in-batch"),
        ({"stage": "reranker", "loss": {"teacher_share": 0.5}}, "loss.teacher_share is for encoders, a reranker has 1"),
        ({"loss": {"teacher_share": 0.0}}, "loss.teacher_share must be above 0 and at most 1, got 0.0"),
        ({"loss": {"name": "infonce", "teacher_share": 0.5}}, "loss.teacher_share needs loss.name 'margin', got 'inf"),
    ],
)
def test_recipes_that_are_refused(recipe: TrainRecipe, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        replace(
            recipe,
            **{
                key: replace(getattr(recipe, key), **value) if isinstance(value, dict) else value
                for key, value in change.items()
            },
        )
