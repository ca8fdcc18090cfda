"""Trains tiny rerankers: each loss, LoRA and full, over an encoder's candidates; what a run leaves; what is refused."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from peft import PeftModel

from trident.errors import ConfigError, DataError, ModelError
from trident.generation.generation import Generation
from trident_train.data.sources import read_sources
from trident_train.recipe import (
    LoraRecipe,
    LossRecipe,
    NegativesRecipe,
    OptimizerRecipe,
    RerankerRecipe,
    SelectionRecipe,
    TrainRecipe,
)
from trident_train.report.card import build_upload
from trident_train.report.compare import compare_runs
from trident_train.report.run_folder import load_run
from trident_train.reranker.first_stage import first_stage
from trident_train.reranker.model import load_classifier, reranker_arm
from trident_train.run import train


@pytest.fixture(scope="module")
def recipe(tiny_recipe: TrainRecipe, tiny_data: Path) -> TrainRecipe:
    """Return a recipe of a reranker over the candidates of the pretrained encoder."""
    return replace(
        tiny_recipe,
        stage="reranker",
        data=replace(
            tiny_recipe.data, catalogue=tiny_data / "products.csv", every_positive_known=True, validation_share=0.35
        ),
        lora=LoraRecipe(rank=8, targets=("all-linear",)),
        loss=LossRecipe(name="listwise", hard_negatives=2),
        negatives=NegativesRecipe(mined=2, from_rank=1, to_rank=20),
        optimizer=OptimizerRecipe(epochs=5, batch_size=16, learning_rate=1e-2),
        selection=SelectionRecipe(metrics=("catalogue_ndcg_at_10", "roc_auc")),
    )


@pytest.fixture(scope="module")
def run(recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of the recipe."""
    folder = tmp_path_factory.mktemp("rerankers") / "lora"
    train(recipe, folder)
    return folder


def test_a_reranker_is_judged_beside_its_first_stage(run: Path) -> None:
    report = json.loads((run / "report.json").read_text("utf-8"))
    rows = {row["name"]: row for row in report["test"]}
    assert list(rows) == ["random", "BM25", "first stage", "lora"]
    assert rows["lora"]["judged"]["roc_auc"]["value"] != rows["first stage"]["judged"]["roc_auc"]["value"]
    assert rows["lora"]["catalogue"]["recall_at_100"] == rows["first stage"]["catalogue"]["recall_at_100"]
    assert [each["arm"] for each in report["classifier"]] == ["first stage", "lora"]
    for each in report["classifier"]:  # a score of which more is not likelier is no classifier's, and that is said
        assert each["reason"] if each["brier"] is None else 0 < each["brier"]["value"] < 0.5
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_rerankers_are_compared_beside_their_first_stage(run: Path, tmp_path: Path) -> None:
    other, third = tmp_path / "other", tmp_path / "third"
    shutil.copytree(run, other)
    shutil.copytree(run, third)
    recipe = json.loads((third / "recipe.json").read_text("utf-8"))
    recipe["reranker"]["first_stage"] = "generations/0123456789abcdef"
    (third / "recipe.json").write_text(json.dumps(recipe), "utf-8")
    shared = compare_runs([run, other]).sources[""]
    assert [arm.name for arm in shared] == ["random", "BM25", "first stage", "lora (lora)", "other (lora)"]
    names = [arm.name for arm in compare_runs([run, other, third]).sources[""]]
    assert names[2:4] == ["first stage (lora, other)", "first stage (third)"]
    with pytest.raises(ConfigError, match=r"--memory-limit measures steps of encoders, got lora, other, rerankers"):
        compare_runs([run, other], memory_limit_bytes=1 << 30)


def test_a_run_has_the_files_of_every_run(run: Path, tiny_model: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {
        "adapter",
        "text.json",
        "tokenizer.json",
        "recipe.json",
        "base.json",
        "report.html",
        "test.parquet",
    } <= names
    scores = pyarrow.parquet.read_table(run / "test_scores.parquet")
    assert scores.column_names == ["data", "random", "BM25", "first stage", "lora"]
    page = (run / "report.html").read_text("utf-8")
    assert "first stage" in page
    base = load_classifier(tiny_model)
    before = base.classifier.weight.clone()
    adapted = PeftModel.from_pretrained(base, str(run / "adapter"))
    merged = adapted.merge_and_unload()
    assert not torch.equal(merged.classifier.weight, before)  # the head is trained, and saved


@pytest.mark.parametrize(
    ("loss", "method"),
    [
        (LossRecipe(name="pointwise", hard_negatives=2), "lora"),
        (LossRecipe(name="pointwise", hard_negatives=2, graded=True), "full"),
        (LossRecipe(name="pairwise", hard_negatives=2), "full"),
    ],
)
def test_the_other_losses_train(recipe: TrainRecipe, loss: LossRecipe, method: str, tmp_path: Path) -> None:
    optimizer = OptimizerRecipe(epochs=3, batch_size=16, learning_rate=1e-2 if method == "lora" else 3e-3)
    changed = replace(recipe, loss=loss, method=method, optimizer=optimizer, reranker=RerankerRecipe(layers=1))
    report = train(changed, tmp_path / "run")  # type: ignore[arg-type]
    assert report.trained is not None
    first, *_, last = report.trained.epochs
    assert last.mean_loss < first.mean_loss
    assert report.test[-1].name == method
    saved = tmp_path / "run" / ("model" if method == "full" else "adapter")
    assert (saved / ("config.json" if method == "full" else "adapter_config.json")).is_file()


def test_nothing_is_dropped_in_training_but_what_adapters_drop(recipe: TrainRecipe, tiny_model: Path) -> None:
    """A new head learns little behind a model that drops a tenth of what it computes."""
    ids = torch.arange(5, 25).reshape(2, 10)
    for method, dropout, same in (("full", 0.0, True), ("lora", 0.0, True), ("lora", 0.5, False)):
        changed = replace(recipe, method=method, lora=replace(recipe.lora, dropout=dropout))  # type: ignore[arg-type]
        model = reranker_arm(load_classifier(tiny_model), changed).train()
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.ones_(weight)
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits) == same


def test_activations_are_computed_again_where_the_recipe_says_so(recipe: TrainRecipe, tiny_model: Path) -> None:
    """The same gradients, of adapters and head too, for less memory."""
    ids = torch.arange(5, 25).reshape(2, 10)
    again = replace(recipe.optimizer, gradient_checkpointing=True)
    for method in ("lora", "full"):
        gradients = []
        for optimizer in (recipe.optimizer, again):
            torch.manual_seed(0)
            changed = replace(recipe, method=method, optimizer=optimizer)  # type: ignore[arg-type]
            model = reranker_arm(load_classifier(tiny_model), changed).train()
            layers = [each for each in model.modules() if hasattr(each, "gradient_checkpointing")]
            assert any(each.gradient_checkpointing for each in layers) == optimizer.gradient_checkpointing
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.ones_(weight)
            model(input_ids=ids).logits.sum().backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        plain, less_memory = gradients
        assert plain.keys() == less_memory.keys()
        assert any("lora_A" in name for name in plain) == (method == "lora")
        for name, gradient in plain.items():
            assert torch.allclose(less_memory[name], gradient, atol=1e-6), name


def test_a_generation_is_a_first_stage(
    recipe: TrainRecipe, generation: Generation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = replace(recipe.data, validation_share=0.2)  # as its run
    served = replace(
        recipe,
        data=data,
        reranker=RerankerRecipe(first_stage=generation.folder, candidates=5),
        optimizer=OptimizerRecipe(epochs=1, batch_size=16, learning_rate=1e-2),
    )
    with caplog.at_level("INFO", logger="trident_train.reranker.first_stage"):
        report = train(served, tmp_path / "run")
    assert "was tested by the same queries; which queries validated its run it does not say" in caplog.text
    rows = {row.name: row for row in report.test}
    judged = generation.manifest.quality
    assert rows["first stage"].catalogue is not None
    assert rows["first stage"].catalogue.ndcg_at_10 == pytest.approx(judged["catalogue"]["ndcg_at_10"], abs=1e-6)
    caplog.clear()
    (source,) = read_sources(served)
    fewer = replace(source.parts, test=source.parts.test.take(range(1)))
    first_stage(served, None, None, fewer)  # type: ignore[arg-type]
    assert re.search(r"WARNING .* was tested by other queries than these \(\d+, here 1\)", caplog.text)
    assert "may have been trained on" in caplog.text
    other = replace(served, data=replace(data, split_seed=7))
    with pytest.raises(DataError, match=r"must hold out the queries that its reranker is judged by, got \d+ that "):
        train(other, tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": LossRecipe(name="infonce")}, "loss.name of stage 'reranker' must be pointwise or pairwise or listwi"),
        ({"stage": "encoder"}, "loss.name of stage 'encoder' must be cosine or infonce or margin, got 'list"),
        ({"method": "none"}, "a reranker has nothing to say untrained: method must be lora or full, got 'none'"),
        (
            {"loss": LossRecipe(name="listwise", hard_negatives=0), "negatives": NegativesRecipe()},
            "a list needs negatives: set loss.hard_negatives or negatives.mined above 0",
        ),
    ],
)
def test_recipes_that_are_refused(recipe: TrainRecipe, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(recipe, **change)


def test_more_recipes_that_are_refused(recipe: TrainRecipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reranker\.candidates needs stage = 'reranker', got stage = 'encoder'"):
        replace(recipe, stage="encoder", loss=LossRecipe(name="infonce"), reranker=RerankerRecipe(candidates=9))
    with pytest.raises(ConfigError, match=r"a reranker needs data\.catalogue of each source"):
        replace(
            recipe, data=replace(recipe.data, catalogue=None), negatives=NegativesRecipe(), selection=SelectionRecipe()
        )
    with pytest.raises(ConfigError, match=r"loss\.graded needs loss\.name 'pointwise', got 'listwise'"):
        LossRecipe(name="listwise", graded=True)
    with pytest.raises(ConfigError, match=r"reranker\.candidates must be >= 1, got 0"):
        RerankerRecipe(candidates=0)
    with pytest.raises(ConfigError, match=r"reranker\.layers must be >= 1, got 0"):
        RerankerRecipe(layers=0)
    with pytest.raises(ModelError, match=r"reranker\.layers must be at most the layers of .*, got 9 of 2"):
        train(replace(recipe, reranker=RerankerRecipe(layers=9)), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"lora\.top_layers is for encoders, a reranker adapts all, got 1"):
        train(replace(recipe, lora=LoraRecipe(top_layers=1)), tmp_path / "run")
    with pytest.raises(ModelError, match=r"a pair must have at most 128 tokens, the positions of .*, got 131"):
        train(replace(recipe, text=replace(recipe.text, query_max_tokens=100)), tmp_path / "run")


def test_the_model_cards_code_runs(run: Path, tmp_path: Path, tiny_model: Path) -> None:
    """As it stands in the card, but for the place of a base model that is on no hub."""
    folder = build_upload(run, tmp_path / "upload", repo_id=None, allow_worse=True)
    card = (folder / "README.md").read_text("utf-8")
    assert "cross-encoder" in card
    assert "| first stage |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    code = code.replace(json.dumps(tiny_model.name), json.dumps(str(tiny_model)))
    with contextlib.chdir(folder):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 3


def test_a_reranker_is_no_encoder(run: Path) -> None:
    with pytest.raises(ModelError, match="an encoder is needed, got the run of a reranker"):
        load_run(run)


def test_a_student_learns_the_teachers_margins(recipe: TrainRecipe, run: Path, tmp_path: Path) -> None:
    """Of judged pairs and of candidates of made queries; nobody else's labels count."""
    student = replace(
        recipe,
        loss=LossRecipe(name="margin", hard_negatives=2),
        reranker=RerankerRecipe(teacher=run, made_queries=40, layers=1),
        optimizer=OptimizerRecipe(epochs=3, batch_size=16, learning_rate=1e-2),
    )
    report = train(student, tmp_path / "student")
    assert report.trained is not None
    first, *_, last = report.trained.epochs
    assert last.mean_loss < first.mean_loss
    plain = train(replace(student, reranker=replace(student.reranker, made_queries=0)), tmp_path / "plain")
    assert plain.trained is not None
    assert first.pairs > plain.trained.epochs[0].pairs + 40
    other = replace(recipe.reranker, teacher=tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"is no run folder: it has no base\.json"):
        train(replace(student, reranker=other), tmp_path / "other")


@pytest.mark.parametrize(
    ("loss", "reranker", "message"),
    [
        ("margin", RerankerRecipe(), "loss.name 'margin' and reranker.teacher go together, got 'margin' and none"),
        ("listwise", RerankerRecipe(teacher=Path("t")), "go together, got 'listwise' and 't'"),
        ("listwise", RerankerRecipe(made_queries=9), "reranker.made_queries needs reranker.teacher and negatives.min"),
    ],
)
def test_recipes_of_students_that_are_refused(
    recipe: TrainRecipe, loss: str, reranker: RerankerRecipe, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(recipe, loss=LossRecipe(name=loss, hard_negatives=2), reranker=reranker)  # type: ignore[arg-type]
