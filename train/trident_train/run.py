"""Trains one recipe and leaves a run folder: adapter or model, text contract, tokenizer, metrics, report.

    trident train train/recipes/demo.toml --out runs/demo

The folder holds ``adapter/`` (LoRA) or ``model/`` (full and none), ``text.json``, ``tokenizer.json`` and its
companions, ``recipe.json`` (resolved), ``base.json`` (which base model, and the hash of its weights),
``metrics.jsonl`` (every step and epoch), ``test.parquet`` (the held-out pairs), ``trained_queries.npy`` (hashes of the
queries trained on) and ``report.json``.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from transformers import AutoTokenizer

from trident.base_model import find_model, weights_fingerprint
from trident.config import to_table
from trident.errors import ModelError
from trident.metrics import roc_auc
from trident.pairs import Pairs
from trident.staging import staged_folder
from trident_train.batches import tokenize_pairs
from trident_train.data import SplitPairs, load_pairs, query_hashes, split_pairs
from trident_train.encoder import Encoder
from trident_train.evaluate import Row, evaluate_bm25, evaluate_encoder, evaluate_random
from trident_train.loop import Epoch, Step, fit
from trident_train.lora import add_adapters, trained_weights
from trident_train.recipe import TrainRecipe

RECIPE_FILE = "recipe.json"
BASE_FILE = "base.json"
REPORT_FILE = "report.json"
METRICS_FILE = "metrics.jsonl"
TEST_PAIRS_FILE = "test.parquet"
TRAINED_QUERIES_FILE = "trained_queries.npy"
VERSIONS_OF = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """What a run found out; ``report.json`` holds the same.

    ``test`` has one row an arm: random, BM25, pretrained, and the trained one (named after its method) last.
    ``seconds`` is the wall time of the whole run; ``improved`` says whether the trained arm's validation ROC-AUC is
    above the pretrained one's.
    """

    method: str
    base_model: str
    test: tuple[Row, ...]
    pretrained_validation_roc_auc: float
    best_validation_roc_auc: float
    improved: bool
    best_epoch: int
    epochs: tuple[Epoch, ...]
    trained_weights: int
    total_weights: int
    train_pairs: int
    validation_pairs: int
    seconds: float
    versions: dict[str, str]


def train(
    recipe: TrainRecipe,
    output: Path,
    *,
    overwrite: bool = False,
    report: Callable[[Step | Epoch], None] = lambda _: None,
) -> TrainReport:
    """Train a recipe and write its run folder, whole or not at all.

    Args:
        recipe: What to train on what.
        output: The run folder to make.
        overwrite: Whether an existing folder may be replaced.
        report: Called after each step and each epoch.

    Raises:
        TridentError: If the data, the model or the output folder cannot be used; nothing is left behind then.
    """
    started = time.perf_counter()
    with staged_folder(output, overwrite=overwrite) as staging:
        set_seed(recipe.seed)
        parts = split_pairs(load_pairs(recipe.data), recipe.data)
        base = find_model(recipe.base_model)
        encoder = Encoder.load(base, recipe.text)
        pretrained_validation = validation_roc_auc(encoder, parts.validation)
        pretrained = evaluate_encoder("pretrained", encoder, parts.test)
        total = sum(parameter.numel() for parameter in encoder.model.parameters())
        encoder, epochs, best_epoch = _train_arm(encoder, recipe, parts, staging, report)
        best = max((epoch.validation_roc_auc for epoch in epochs), default=pretrained_validation)
        arms = [evaluate_random(parts.test), evaluate_bm25(parts.test), pretrained]
        if recipe.method != "none":
            arms.append(evaluate_encoder(recipe.method, encoder, parts.test))
        result = TrainReport(
            method=recipe.method,
            base_model=recipe.base_model,
            test=tuple(arms),
            pretrained_validation_roc_auc=pretrained_validation,
            best_validation_roc_auc=best,
            improved=best > pretrained_validation,
            best_epoch=best_epoch,
            epochs=epochs,
            trained_weights=trained_weights(encoder.model) if recipe.method != "none" else 0,
            total_weights=total,
            train_pairs=len(parts.train),
            validation_pairs=len(parts.validation),
            seconds=time.perf_counter() - started,
            versions={name: importlib.metadata.version(name) for name in VERSIONS_OF},
        )
        _save(staging, recipe, base, encoder, parts, result)
    return result


def validation_roc_auc(encoder: Encoder, pairs: Pairs) -> float:
    """Return the pooled ROC-AUC of an encoder's cosine over pairs."""
    queries, titles = encoder.embed(pairs.queries, "query"), encoder.embed(pairs.titles, "product")  # (P, D) each
    return roc_auc(pairs.labels, np.einsum("pd,pd->p", queries, titles))


def load_run(folder: Path) -> Encoder:
    """Return the trained encoder of a run folder, adapters applied.

    Raises:
        ModelError: If the folder is no run, or its base model is not the one it was trained on.
    """
    from peft import PeftModel  # slow to import

    recipe = read_recipe(folder)
    if (folder / "model").is_dir():
        return Encoder.load(folder / "model", recipe.text)
    base = find_model(recipe.base_model)
    trained_on = json.loads((folder / BASE_FILE).read_text(encoding="utf-8"))["weights_fingerprint"]
    found = weights_fingerprint(base)
    if found != trained_on:
        raise ModelError(
            f"the adapter of {folder} belongs to weights {trained_on[:12]}, but {recipe.base_model} has {found[:12]}: "
            "install the base model it was trained on, or train again"
        )
    encoder = Encoder.load(base, recipe.text)
    return Encoder(PeftModel.from_pretrained(encoder.model, str(folder / "adapter")), encoder.tokenizer)


def read_recipe(folder: Path) -> TrainRecipe:
    """Return the resolved recipe of a run folder.

    Raises:
        ModelError: If the folder is no run.
    """
    from trident.config import from_table

    path = folder / RECIPE_FILE
    if not path.is_file():
        raise ModelError(f"{folder} is no run folder: it has no {RECIPE_FILE}; make one with trident train")
    return from_table(TrainRecipe, json.loads(path.read_text(encoding="utf-8")), where=str(path))


def _train_arm(
    encoder: Encoder, recipe: TrainRecipe, parts: SplitPairs, staging: Path, report: Callable[[Step | Epoch], None]
) -> tuple[Encoder, tuple[Epoch, ...], int]:
    if recipe.method == "none":
        return encoder, (), 0
    if recipe.method == "lora":
        adapted = add_adapters(encoder.model, recipe.lora, base_model=recipe.base_model)
        encoder = Encoder(adapted, encoder.tokenizer)
    with (staging / METRICS_FILE).open("w", encoding="utf-8") as file:

        def record(entry: Step | Epoch) -> None:
            kind = type(entry).__name__.lower()
            file.write(json.dumps({"kind": kind, **dataclasses.asdict(entry)}) + "\n")
            file.flush()
            report(entry)

        trained = fit(
            encoder,
            tokenize_pairs(parts.train, encoder.tokenizer),
            recipe,
            validate=lambda current: validation_roc_auc(current, parts.validation),
            report=record,
        )
    return encoder, trained.epochs, trained.best_epoch


def _save(
    staging: Path, recipe: TrainRecipe, base: Path, encoder: Encoder, parts: SplitPairs, result: TrainReport
) -> None:
    weights: Any = encoder.model.to("cpu", torch.float32)
    weights.save_pretrained(str(staging / ("adapter" if recipe.method == "lora" else "model")))
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    for folder in (staging, staging / "model"):
        if folder.is_dir():
            tokenizer.save_pretrained(str(folder))
    recipe.text.save(staging)
    fingerprint = {"base_model": recipe.base_model, "weights_fingerprint": weights_fingerprint(base)}
    _write_json(staging / BASE_FILE, fingerprint)
    _write_json(staging / RECIPE_FILE, to_table(recipe))
    parts.test.save(staging / TEST_PAIRS_FILE)
    np.save(staging / TRAINED_QUERIES_FILE, query_hashes(parts.train.queries))
    _write_json(staging / REPORT_FILE, to_table(result))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
