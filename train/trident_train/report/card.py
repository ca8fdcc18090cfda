"""The folder that is uploaded to a model hub for a run: weights, tokenizer, text contract, figures and a model card.

trident push runs/movies --folder upload
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from trident.encoder.text import TEXT_CONTRACT_FILE
from trident.errors import ConfigError, ModelError
from trident.generation.staging import staged_folder
from trident_train.report.card_text import PublishedModel, card_text, describe_base
from trident_train.report.run_files import (
    ADAPTER_FOLDER,
    BASE_FILE,
    MODEL_FOLDER,
    REPORT_FILE,
    read_json,
    read_recipe,
    write_json,
)

CARD_FILE = "README.md"
ADAPTER_CONFIG_FILE = "adapter_config.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model")
OF_THIS_MACHINE = ("is_local", "local_files_only", "name_or_path")  # how the tokenizer was loaded here


def build_upload(
    run: Path,
    folder: Path,
    *,
    repo_id: str | None,
    licence: str | None = None,
    allow_worse: bool = False,
    overwrite: bool = False,
) -> Path:
    """Make the folder that would be uploaded for a run, whole or not at all, and return it.

    Its top level loads with plain ``transformers`` (full) or ``peft`` (LoRA). No row of the data and no local path is
    in it.

    Args:
        run: A run folder.
        folder: The folder to make.
        repo_id: OWNER/NAME that the card's code loads from; None: the folder that the code runs in.
        licence: Identifier for the card, such as "apache-2.0"; None leaves it out.
        allow_worse: Whether a run that did not beat its pretrained model may be uploaded.
        overwrite: Whether an existing folder may be replaced.

    Raises:
        ModelError: If ``run`` is no run folder, or training did not help.
        ConfigError: If ``repo_id`` is no OWNER/NAME, or ``folder`` is or holds the run folder.
        TridentError: If the folder exists or cannot be written.
    """
    if repo_id is not None:
        check_repo_id(repo_id)
    if folder.resolve() in (run.resolve(), *run.resolve().parents):
        raise ConfigError(f"--folder must not be the run folder or hold it, got {folder}: choose another")
    recipe, report = read_recipe(run), read_json(run / REPORT_FILE)
    if report["improved"] is False and not allow_worse:
        raise ModelError(
            f"{run} did not beat its pretrained model: validation score {report['trained']['best_score']:.4f}, "
            f"pretrained {report['pretrained_validation']['value']:.4f}; train it better, or add --allow-worse"
        )
    adapter = (run / ADAPTER_FOLDER).is_dir()
    base = describe_base(recipe.base_model, read_json(run / BASE_FILE)["weights_fingerprint"])
    with staged_folder(folder, overwrite=overwrite) as staging:
        weights = (run / (ADAPTER_FOLDER if adapter else MODEL_FOLDER)).iterdir()
        tokenizer = [path for pattern in TOKENIZER_FILES for path in run.glob(pattern)]
        for path in [*weights, *tokenizer, run / TEXT_CONTRACT_FILE]:
            shutil.copyfile(path, staging / path.name)
        _edit(staging / TOKENIZER_CONFIG_FILE, remove=OF_THIS_MACHINE)
        if adapter:
            _edit(staging / ADAPTER_CONFIG_FILE, base_model_name_or_path=base.hub_id)
        public = public_report({**report, "base_model": base.name})
        write_json(staging / REPORT_FILE, public)
        name = repo_id or run.resolve().name
        model = PublishedModel(name=name, place=repo_id or ".", adapter=adapter, licence=licence)
        text = card_text(model, recipe, public, base)
        (staging / CARD_FILE).write_text(text, encoding="utf-8")
    return folder


def check_repo_id(repo_id: str) -> None:
    """Raise ConfigError unless ``repo_id`` is OWNER/NAME as the hub allows it."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(f"--to must be OWNER/NAME, got '{repo_id}': {error}") from error
    if "/" not in repo_id:
        raise ConfigError(f"--to must be OWNER/NAME, got '{repo_id}': it has no owner")


def public_report(report: Any) -> Any:
    """Return a report without the rows that its audit gives as examples."""
    if isinstance(report, dict):
        return {name: public_report(value) for name, value in report.items() if name != "examples"}
    return [public_report(value) for value in report] if isinstance(report, list) else report


def _edit(path: Path, remove: tuple[str, ...] = (), **values: Any) -> None:
    """Change some keys of a JSON file."""
    table = read_json(path)
    write_json(path, {name: value for name, value in {**table, **values}.items() if name not in remove})
