"""The run folder: what a training run leaves, and how the next stage reads it.

``adapter/`` (LoRA) or ``model/`` (full and none), ``text.json``, ``tokenizer.json`` and its companions, ``recipe.json``
(resolved), ``base.json`` (which base model, and the hash of its weights; of a student that of its teacher, too),
``metrics.jsonl`` (every step and epoch), ``validation.parquet`` (the pairs that weights were chosen by),
``test.parquet`` (the held-out pairs), ``test_scores.parquet`` (what each arm says of them), ``test_queries.parquet``
(NDCG@10 of each arm for each query), ``trained_queries.npy`` (hashes of the queries trained on), ``trained_words.txt``
(words that two of them have), ``report.json``, ``report.html``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from trident.config import to_table
from trident.data.pairs import Pairs, query_hashes
from trident.encoder.base_model import find_model, weights_fingerprint
from trident.encoder.text import TextContract
from trident.encoder.weights import require_whole
from trident.errors import ModelError, first_line
from trident.lexical.analyzer import Analyzer, AnalyzerConfig, known_words
from trident_train.data.sources import Source
from trident_train.model.encoder import Encoder
from trident_train.recipe import TrainRecipe
from trident_train.report.run_files import (
    ADAPTER_FOLDER,
    ADAPTER_WEIGHTS,
    BASE_FILE,
    MODEL_FOLDER,
    RECIPE_FILE,
    TEST_PAIRS_FILE,
    TRAINED_QUERIES_FILE,
    TRAINED_WORDS_FILE,
    VALIDATION_PAIRS_FILE,
    read_json,
    read_recipe,
    write_json,
)


def save_run(
    folder: Path,
    recipe: TrainRecipe,
    base: Path,
    model: Any,
    sources: Sequence[Source],
    *,
    teacher: str | None = None,
) -> int:
    """Write everything but figures into a run folder; return the size of the weights in bytes.

    Args:
        folder: Staged.
        recipe: Of the run.
        base: The folder of its base model.
        model: Of transformers or PEFT, trained.
        sources: Of the run.
        teacher: Fingerprint of the reranker whose logits were learnt; None: nobody taught.
    """
    weights: Any = model.to("cpu", torch.float32)
    target = folder / (ADAPTER_FOLDER if recipe.method == "lora" else MODEL_FOLDER)
    # adapters change no embedding layer, and PEFT need not ask the hub whether the vocabulary grew
    options = {"save_embedding_layers": False} if recipe.method == "lora" else {}
    weights.save_pretrained(str(target), **options)
    tokenizer = AutoTokenizer.from_pretrained(str(base))
    for place in (folder, folder / MODEL_FOLDER):
        if place.is_dir():
            tokenizer.save_pretrained(str(place))
    recipe.text.save(folder)
    fingerprint = {"base_model": recipe.base_model, "weights_fingerprint": weights_fingerprint(base)}
    if teacher is not None:
        fingerprint["teacher_fingerprint"] = teacher
    write_json(folder / BASE_FILE, fingerprint)
    write_json(folder / RECIPE_FILE, to_table(recipe))
    pooled([(source.name, source.parts.validation) for source in sources]).save(folder / VALIDATION_PAIRS_FILE)
    pooled_test(sources).save(folder / TEST_PAIRS_FILE)
    trained = [query for source in sources for query in source.parts.train.queries]
    words = known_words(trained, Analyzer(AnalyzerConfig(language="none")))  # spelling leaves them as they are
    (folder / TRAINED_WORDS_FILE).write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    np.save(folder / TRAINED_QUERIES_FILE, query_hashes(trained if recipe.method != "none" else []))
    return sum(path.stat().st_size for path in target.glob("*.safetensors"))


def pooled_test(sources: Sequence[Source]) -> Pairs:
    """Return the test pairs of all sources in one; as ``pooled``."""
    return pooled([(source.name, source.parts.test) for source in sources])


def pooled(parts: Sequence[tuple[str, Pairs]]) -> Pairs:
    """Return pairs of several sources, each with its name, in one; ids of several start with ``NAME:``."""
    if len(parts) == 1:
        return parts[0][1]
    return Pairs(
        queries=[query for _, part in parts for query in part.queries],
        titles=[title for _, part in parts for title in part.titles],
        labels=np.concatenate([part.labels for _, part in parts]),
        grades=np.concatenate([part.grades for _, part in parts]),
        product_ids=[f"{name}:{product_id}" for name, part in parts for product_id in part.product_ids],
    )


def load_run(folder: Path, *, text: TextContract | None = None) -> Encoder:
    """Return the trained encoder of a run folder, adapters applied.

    Args:
        folder: The run folder.
        text: Taken instead of the text contract that the run was trained with.

    Raises:
        ModelError: If the folder is no run, or its base model is not the one it was trained on.
    """
    from peft import PeftModel  # slow to import

    recipe = read_recipe(folder)
    if recipe.stage != "encoder":
        raise ModelError(
            f"an encoder is needed, got the run of a {recipe.stage} ({folder}): its report has its figures"
        )
    contract = text or recipe.text
    if (folder / MODEL_FOLDER).is_dir():
        return Encoder.load(folder / MODEL_FOLDER, contract)
    base = find_model(recipe.base_model)
    trained_on = read_json(folder / BASE_FILE)["weights_fingerprint"]
    found = weights_fingerprint(base)
    if found != trained_on:
        raise ModelError(
            f"the adapter of {folder} belongs to weights {trained_on[:12]}, but {recipe.base_model} has {found[:12]}: "
            "install the base model it was trained on, or train again"
        )
    require_whole(folder / ADAPTER_FOLDER / ADAPTER_WEIGHTS)
    encoder = Encoder.load(base, contract)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")  # they would be left at nothing
            adapted = PeftModel.from_pretrained(encoder.model, str(folder / ADAPTER_FOLDER))
    except Exception as error:  # those of PEFT, safetensors and PyTorch share no base class
        raise ModelError(
            f"the adapter of {folder} does not fit {recipe.base_model}: {first_line(error)[:200]}; train again"
        ) from error
    return Encoder(adapted, encoder.tokenizer)
