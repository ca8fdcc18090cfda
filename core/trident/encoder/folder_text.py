"""What a model folder says about how its texts are read: our own ``text.json``, or sentence-transformers' files."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident.config import to_table
from trident.encoder.text import SLOT, TEXT_CONTRACT_FILE, TextContract
from trident.encoder.weights import require_no_pointer
from trident.errors import ModelError

MODULES_FILE = "modules.json"
PROMPTS_FILE = "config_sentence_transformers.json"
POOLING_FOLDER = "1_Pooling"
KNOWN_MODULES = ("Transformer", "Pooling", "Normalize", "Dropout")  # a dropout does nothing but in training
QUERY_PROMPTS = ("query",)  # the names that sentence-transformers' encode_query and encode_document look for
PRODUCT_PROMPTS = ("document", "passage", "corpus")
MODES = {"cls": "cls", "mean": "mean", "cls_token": "cls", "mean_tokens": "mean"}


@dataclass(frozen=True)
class FolderText:
    """What a folder says: ``changes`` of the text contract by key, and from which file each is, in words."""

    changes: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    def line(self, given: Container[str]) -> str | None:
        """Return what was taken from the folder as one line, without the keys that were given; None if nothing."""
        taken = [word for word in self.words if word.split(" ", 1)[0] not in given]  # it begins with its key
        return f"the model folder says, and it was taken: {', '.join(taken)}" if taken else None


def read_folder_text(folder: Path) -> FolderText:
    """Return what a model folder says about its texts; nothing where it says nothing.

    Maximum lengths are limits: they shorten Trident's defaults, and never make them longer.

    Args:
        folder: With the weights; where these are in a folder inside of one that sentence-transformers wrote, that one's
            files count.

    Raises:
        ModelError: If a file is damaged, or asks for what Trident cannot do.
        ConfigError: If our own file breaks a rule.
    """
    if (folder / TEXT_CONTRACT_FILE).is_file():
        contract, default = to_table(TextContract.load(folder)), to_table(TextContract())
        words = [f"{key} {value!r} ({TEXT_CONTRACT_FILE})" for key, value in contract.items() if value != default[key]]
        return FolderText(contract, tuple(words))
    root = folder
    if not (folder / MODULES_FILE).is_file() and (folder.parent / MODULES_FILE).is_file():
        root = folder.parent if transformer_folder(folder.parent) == folder else folder
    changes: dict[str, Any] = {}
    words = []

    def take(key: str, value: Any, path: Path) -> None:
        changes[key] = value
        words.append(f"{key} {value!r} ({path.relative_to(root)})")

    modules = _modules(root)
    pooling = _path_of(modules, "Pooling") or POOLING_FOLDER
    path = root / pooling / "config.json"
    if path.is_file():
        take("pooling", _pooling(path), path)
    for path in sorted({*root.glob("sentence_*_config.json"), *folder.glob("sentence_*_config.json")}):
        table = _read(path)
        longest = table.get("max_seq_length")
        for key in ("query_max_tokens", "product_max_tokens"):
            if isinstance(longest, int) and longest < getattr(TextContract(), key):
                take(key, longest, path)
        if table.get("do_lower_case") is True:
            take("lowercase", table["do_lower_case"], path)
    path = root / PROMPTS_FILE
    if path.is_file():
        for key, prompt in _prompts(_read(path)).items():
            take(key, prompt + SLOT, path)
    if modules and not _has(modules, "Normalize"):
        words.append(f"embeddings of unit length all the same ({MODULES_FILE} has no Normalize)")
    return FolderText(changes, tuple(words))


def transformer_folder(folder: Path) -> Path:
    """Return where the weights of a folder are: ``modules.json`` may name one inside of it.

    Raises:
        ModelError: If the file is damaged, or names a module that Trident cannot do.
    """
    return folder / _path_of(_modules(folder), "Transformer")


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Return (kind, path) of each module of ``modules.json``; none where there is no such file."""
    path = folder / MODULES_FILE
    if not path.is_file():
        return []
    entries = _read(path, kind=list)
    try:
        modules = [(str(entry["type"]).rpartition(".")[2], str(entry["path"])) for entry in entries]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path} must be a list of modules with type and path, got {error!r} in it") from error
    for kind, inside in modules:
        if kind not in KNOWN_MODULES:
            where = f" ({inside})" if inside else ""
            raise ModelError(
                f"model folder {folder} has a module {kind}{where}, which Trident cannot do: {MODULES_FILE} may name "
                f"{', '.join(KNOWN_MODULES)} only; take another model"
            )
    return modules


def _path_of(modules: list[tuple[str, str]], kind: str) -> str:
    return next((path for each, path in modules if each == kind), "")


def _has(modules: list[tuple[str, str]], kind: str) -> bool:
    return any(each == kind for each, _ in modules)


def _pooling(path: Path) -> str:
    table = _read(path)
    modes = [name.removeprefix("pooling_mode_") for name in table if name.startswith("pooling_mode_") and table[name]]
    named = table.get("pooling_mode")
    if named:
        modes = [named] if isinstance(named, str) else list(named)
    found = [MODES.get(mode) for mode in modes]
    if len(found) != 1 or found[0] is None:
        raise ModelError(
            f"pooling must be mean or cls, {path} says {' and '.join(map(str, modes)) or 'none of them'}: "
            "Trident cannot do that, take another model"
        )
    if table.get("include_prompt") is False:
        raise ModelError(
            f"{path} leaves prompts out of the pooling (include_prompt), which Trident cannot do: take another model"
        )
    return found[0]


def _prompts(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the prompts that are not empty, by the key of the template that they begin."""
    prompts = table.get("prompts") or {}
    default = prompts.get(table.get("default_prompt_name")) or ""
    found = {}
    for key, names in (("query_template", QUERY_PROMPTS), ("product_template", PRODUCT_PROMPTS)):
        prompt = next((prompts[name] for name in names if name in prompts), default)
        if prompt:
            found[key] = str(prompt)
    return found


def _read(path: Path, *, kind: type = dict) -> Any:
    require_no_pointer(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not JSON: {error}; download the file again") from error
    if not isinstance(value, kind):
        raise ModelError(f"{path} must hold a JSON {'object' if kind is dict else 'array'}, got {value!r:.60}")
    return value
