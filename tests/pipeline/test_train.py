"""Training for real on a tiny model: learns, reproduces itself, reloads, leaves nothing behind when it fails."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, BertConfig, BertModel

from trident.data.pairs import read_pairs
from trident.encoder.text import TextContract
from trident.errors import ConfigError, DataError, ModelError, TridentError
from trident_train.judge.evaluate import rank_encoder
from trident_train.model.arms import add_adapters
from trident_train.model.encoder import Encoder, PretrainedEncoder
from trident_train.recipe import DataRecipe, LoraRecipe, LossRecipe, OptimizerRecipe, TrainRecipe
from trident_train.report.run_files import read_recipe
from trident_train.report.run_folder import load_run
from trident_train.run import train


def test_run_folder_says_what_happened(tiny_run: Path, tiny_recipe: TrainRecipe) -> None:
    report = json.loads((tiny_run / "report.json").read_text())
    assert [row["name"] for row in report["test"]] == ["random", "BM25", "pretrained", "lora"]
    trained = report["trained"]
    assert trained["best_score"] > report["pretrained_validation"]["value"]
    assert report["improved"]
    best = max(epoch["score"] for epoch in trained["epochs"])
    assert trained["epochs"][trained["best_epoch"] - 1]["score"] == best == trained["best_score"]
    entries = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in entries if entry["kind"] == "step"]
    assert [entry["step"] for entry in steps] == list(range(1, steps[-1]["steps"] + 1))
    assert [entry["epoch"] for entry in entries if entry["kind"] == "epoch"] == [1, 2, 3, 4]
    found = read_recipe(tiny_run)  # which another worker may have trained, on a copy of its own
    assert Path(found.data.pairs).name == Path(str(tiny_recipe.data.pairs)).name
    data = dataclasses.replace(tiny_recipe.data, pairs=found.data.pairs)
    assert found == dataclasses.replace(tiny_recipe, data=data, base_model=found.base_model)
    assert TextContract.load(tiny_run) == tiny_recipe.text


def test_the_test_split_was_not_trained_on(tiny_run: Path) -> None:
    from trident_train.data.splits import trained_share

    held_out = read_pairs(tiny_run / "test.parquet")
    assert trained_share(held_out.queries, np.load(tiny_run / "trained_queries.npy")) == 0.0
    assert len(set(held_out.queries)) == 14


def test_the_run_carries_its_validation_pairs(tiny_run: Path) -> None:
    """For what is tuned later: neither trained on nor tested with."""
    from trident_train.data.splits import trained_share

    validation, held_out = read_pairs(tiny_run / "validation.parquet"), read_pairs(tiny_run / "test.parquet")
    assert trained_share(validation.queries, np.load(tiny_run / "trained_queries.npy")) == 0.0
    assert validation.queries
    assert set(validation.queries).isdisjoint(held_out.queries)


def test_the_reloaded_run_gives_the_reported_figure(tiny_run: Path) -> None:
    report = json.loads((tiny_run / "report.json").read_text())
    held_out = read_pairs(tiny_run / "test.parquet")
    found = rank_encoder(load_run(tiny_run), held_out).row("again", held_out).judged.roc_auc.value
    assert found == pytest.approx(report["test"][-1]["judged"]["roc_auc"]["value"], abs=1e-6)


def test_the_same_recipe_gives_the_same_weights(tiny_run: Path, tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path / "again")
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tiny_run / name).read_bytes()


def test_threads_change_no_bit(tiny_recipe: TrainRecipe, tiny_model: Path, tmp_path: Path) -> None:
    """Gradients of a batch's repeated queries are large enough here for PyTorch to add them up on several threads."""
    wide = shutil.copytree(tiny_model, tmp_path / "wide")
    config = BertConfig.from_pretrained(str(tiny_model), hidden_size=512, num_hidden_layers=1)
    BertModel(config).save_pretrained(str(wide))
    options = OptimizerRecipe(epochs=3, batch_size=128, learning_rate=1e-2)
    recipe = dataclasses.replace(tiny_recipe, base_model=str(wide), optimizer=options)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for name in ("first", "again"):
            train(recipe, tmp_path / name)
    finally:
        torch.set_num_threads(threads)
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    assert not torch.are_deterministic_algorithms_enabled()  # as it was before


def test_full_fine_tuning_reloads_in_plain_transformers(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe, method="full", optimizer=OptimizerRecipe(epochs=1, learning_rate=1e-3))
    report = train(recipe, tmp_path / "full")
    pooler = 32 * 32 + 32  # the loss does not reach it
    assert report.trained_weights == report.total_weights - pooler
    model, info = AutoModel.from_pretrained(str(tmp_path / "full" / "model"), output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    saved = load_file(tmp_path / "full" / "model" / "model.safetensors")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, saved[name])


def test_what_is_embedded_before_training_is_embedded_once(tiny_recipe: TrainRecipe) -> None:
    plain = Encoder.load(Path(tiny_recipe.base_model), tiny_recipe.text)
    pretrained = PretrainedEncoder(plain.model, plain.tokenizer)
    titles = ["Alba sofa red", "Borex lamp", "Alba sofa red"]
    done: list[int] = []
    first = pretrained.embed(titles, "product", progress=done.append)
    np.testing.assert_allclose(first, plain.embed(titles, "product"), atol=1e-6)
    longer = pretrained.embed(["Borex lamp", "Cimar rake green", *titles], "product", progress=done.append)
    assert done == [2, 1]
    np.testing.assert_array_equal(longer[[2, 3, 4]], first)
    assert pretrained.embed([], "query").shape == (0, first.shape[1])


def test_no_training_reports_the_pretrained_model(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    report = train(dataclasses.replace(tiny_recipe, method="none"), tmp_path / "none")
    assert [row.name for row in report.test] == ["random", "BM25", "pretrained"]
    assert (report.trained, report.improved, report.trained_weights) == (None, None, 0)
    assert (tmp_path / "none" / "model" / "model.safetensors").is_file()


def test_infonce_and_accumulation_train(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(
        tiny_recipe,
        loss=LossRecipe(name="infonce"),
        optimizer=OptimizerRecipe(
            epochs=4, batch_size=8, gradient_accumulation=2, learning_rate=1e-2, warmup_share=0.2
        ),
    )
    report = train(recipe, tmp_path / "infonce")
    assert report.improved
    assert report.trained is not None
    assert report.trained.epochs[1].mean_loss < report.trained.epochs[0].mean_loss


def test_accumulating_two_halves_equals_one_batch(tiny_recipe: TrainRecipe, tmp_path: Path) -> None:
    # 24 train queries with 6 pairs each = 144 pairs: equal halves, so the mean of their losses is the batch's loss
    whole = dataclasses.replace(tiny_recipe, optimizer=OptimizerRecipe(epochs=1, batch_size=24))
    halves = dataclasses.replace(
        tiny_recipe, optimizer=OptimizerRecipe(epochs=1, batch_size=12, gradient_accumulation=2)
    )
    one, other = train(whole, tmp_path / "whole"), train(halves, tmp_path / "halves")
    assert one.train_pairs % 24 == 0
    assert one.trained is not None
    assert other.trained is not None
    assert one.trained.epochs[0].mean_loss == pytest.approx(other.trained.epochs[0].mean_loss, rel=1e-4)


def test_embedding_does_not_depend_on_the_batch(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, TextContract(query_max_tokens=16, product_max_tokens=32))
    texts = ["red kettle", "Alba sofa " * 10, "x", "red kettle"]
    together = encoder.embed(texts, "query")
    for row, text in enumerate(texts):
        np.testing.assert_allclose(together[row], encoder.embed([text], "query")[0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)


def test_all_linear_leaves_the_pooler_alone(tiny_model: Path) -> None:
    model = Encoder.load(tiny_model, TextContract()).model
    adapted = add_adapters(model, LoraRecipe(targets=("all-linear",), rank=2), base_model="tiny")
    trained = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert len(trained) == 2 * 2 * 6  # layers, A and B, linear layers of a BERT block
    assert not any("pooler" in name for name in trained)


def test_adapters_may_be_of_the_last_layers_only(tiny_model: Path) -> None:
    model = Encoder.load(tiny_model, TextContract()).model
    adapted = add_adapters(model, LoraRecipe(targets=("all-linear",), rank=2, top_layers=1), base_model="tiny")
    trained = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert len(trained) == 2 * 6  # A and B, linear layers of a BERT block
    assert all(".layer.1." in name for name in trained)  # of layers 0 and 1


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (
            {"lora": LoraRecipe(top_layers=3)},
            ConfigError,
            r"lora\.top_layers must be <= 2, the layers of the model, got 3",
        ),
        ({"base_model": "pypi:no-such-package"}, TridentError, "is not installed: run pip install no-such-package"),
        ({"base_model": "pypi:numpy"}, ModelError, "numpy holds no model: no config.json"),
        ({"lora": LoraRecipe(targets=("quarry",))}, ConfigError, "no linear layer is called 'quarry', the model has"),
        ({"data": DataRecipe(pairs="no.csv")}, DataError, "no.csv does not exist"),
        ({"text": TextContract(product_max_tokens=500)}, ModelError, "must be <= 128, the positions of"),
    ],
)
def test_refusals_leave_nothing_behind(
    tiny_recipe: TrainRecipe, tmp_path: Path, change: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        train(dataclasses.replace(tiny_recipe, **change), tmp_path / "runs" / "refused")  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists()


def test_a_base_model_without_tokenizer_is_refused(tiny_recipe: TrainRecipe, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    with pytest.raises(ModelError, match=r"has no tokenizer \(tokenizer\.json\): save a fast one there"):
        train(dataclasses.replace(tiny_recipe, base_model=str(folder)), tmp_path / "run")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no weights: expected one of model\.safetensors"):
        train(dataclasses.replace(tiny_recipe, base_model=str(folder)), tmp_path / "run")


def test_an_existing_run_is_kept_unless_told_otherwise(tiny_run: Path, tiny_recipe: TrainRecipe) -> None:
    before = (tiny_run / "report.json").read_text()
    with pytest.raises(TridentError, match=r"exists already: choose another --out, or add --overwrite"):
        train(tiny_recipe, tiny_run)
    with pytest.raises(DataError):
        train(dataclasses.replace(tiny_recipe, data=DataRecipe(pairs="no.csv")), tiny_run, overwrite=True)
    assert (tiny_run / "report.json").read_text() == before


def test_another_base_model_under_the_adapter_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    base = json.loads((folder / "base.json").read_text())
    (folder / "base.json").write_text(json.dumps({**base, "weights_fingerprint": "0" * 64}))
    with pytest.raises(ModelError, match="belongs to weights 000000000000, but"):
        load_run(folder)
    with pytest.raises(ModelError, match=r"is no run folder: it has no recipe\.json"):
        load_run(tmp_path)
