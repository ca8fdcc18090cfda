"""Weights of a model folder: whole files, and names that fit the architecture, before anything is computed.

transformers draws what a file lacks at random, with a table in a log as the only word of it. PyTorch is not imported
here: who loads a model hands over how.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from trident.errors import ModelError, first_line

WEIGHT_FILES = (  # in the order in which transformers looks for them
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
LFS_START = b"version https://git-lfs.github.com/spec/"
ZIP_START = b"PK\x03\x04"  # of a file that PyTorch wrote since 1.6
UNUSED = "pooler."  # BERT's: embeddings are pooled from the last layer, and many files come without it


def require_weights(folder: Path) -> None:
    """Check that a model folder has weights, every shard of them, and that each file is whole.

    Raises:
        ModelError: Naming the file.
    """
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"model folder {folder} has no weights: expected one of {', '.join(WEIGHT_FILES)}")
    require_no_pointer(found)
    for path in _shards(found) if found.suffix == ".json" else [found]:
        require_whole(path)


def require_no_pointer(path: Path) -> None:
    """Check that a file is not the note that Git LFS leaves in its place.

    Raises:
        ModelError: If it is, or cannot be read.
    """
    if _head(path, len(LFS_START)) == LFS_START:
        raise ModelError(
            f"{path} is a pointer of Git LFS, not the file: run git lfs pull in {path.parent}, or download it again"
        )


def require_whole(path: Path) -> None:
    """Check that a file of weights is there and was not cut off.

    Raises:
        ModelError: If it is missing, a pointer of Git LFS or not whole.
    """
    if not path.is_file():
        raise ModelError(f"weights {path} are missing: download the model folder again")
    require_no_pointer(path)
    fault = _safetensors_fault(path) if path.suffix == ".safetensors" else _pickle_fault(path)
    if fault is not None:
        raise ModelError(f"weights {path} are damaged: {fault}; download the file again")


def load_model(folder: Path, load: Callable[[], tuple[Any, Mapping[str, Any]]], *, fresh: tuple[str, ...] = ()) -> Any:
    """Return the model of a folder, every weight of which is its files'.

    Args:
        folder: For errors.
        load: Returns a transformers model and its loading info, sizes that do not fit in ``mismatched_keys``.
        fresh: Modules that may be new, such as a head that is trained next.

    Raises:
        ModelError: If it cannot be loaded, or its weights do not fit the architecture.
    """
    try:
        model, info = load()
    except Exception as error:  # those of transformers, safetensors and PyTorch share no base class
        raise ModelError(f"model folder {folder} cannot be loaded: {first_line(error)}") from error
    fault = _fault_of_fit(model, info, fresh)
    if fault is not None:
        raise ModelError(
            f"the weights of {folder} do not fit its config.json ({fault}): what is missing would be drawn at random; "
            "take the config.json that belongs to the weights, or another model"
        )
    return model


def usable_positions(model: Any) -> int | None:
    """Return how many tokens a transformers model reads at most; None where it says nothing.

    RoBERTa and its kind count positions from the padding id on: of 514, 512 can be used.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    embedding = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(embedding, "padding_idx", None)
    return positions if positions is None or padding is None else int(positions) - int(padding) - 1


def spread_layers(layers: int, kept: int) -> list[int]:
    """Return the numbers of ``kept`` of so many layers, evenly spread, the last one among them."""
    return [round((number + 1) * layers / kept) - 1 for number in range(kept)]


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [index.parent / name for name in sorted(names)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"index of weights {index} cannot be read: {error!r}; download the file again") from error


def _safetensors_fault(path: Path) -> str | None:
    """Return what is wrong with a file of safetensors: eight bytes with the length of a JSON header, it, and data."""
    size = path.stat().st_size
    length = int.from_bytes(_head(path, 8), "little")
    if size < 8 or length > size - 8:
        return f"it has {size:,} bytes, and a header of safetensors does not fit into them"
    try:
        header = json.loads(_head(path, 8 + length)[8:])
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "it has no header of safetensors"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"it must have {expected:,} bytes, got {size:,}"


def _pickle_fault(path: Path) -> str | None:
    if not path.stat().st_size:
        return "it is empty"
    if _head(path, len(ZIP_START)) == ZIP_START and not zipfile.is_zipfile(path):
        return "it was cut off"
    return None


def _head(path: Path, size_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size_bytes)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _fault_of_fit(model: Any, info: Mapping[str, Any], fresh: tuple[str, ...]) -> str | None:
    prefix = f"{model.base_model_prefix}."
    children = [*model.named_children(), *model.base_model.named_children()]  # of a head's model, and of what it is on
    parts = tuple(f"{name}." for name, _ in children)

    def of_model(names: Iterable[str]) -> list[str]:
        """Return the names that the embeddings depend on; heads of other tasks are no part of it."""
        return [
            name
            for name in sorted(names)
            if (bare := name.removeprefix(prefix)).startswith(parts) and not bare.startswith((UNUSED, *fresh))
        ]

    missing = of_model(info["missing_keys"])
    unexpected = of_model(info["unexpected_keys"])
    others = sorted(info["unexpected_keys"]) if missing else []
    sizes = [each for each in sorted(info["mismatched_keys"]) if of_model([each[0]])]
    if sizes:
        name, in_file, in_model = sizes[0]
        return f"{name} is {_shape(in_file)} in the file and {_shape(in_model)} in the model, {len(sizes)} of this kind"
    if not missing and not unexpected:
        return None
    faults = [
        f"{what} {names[0]} and {len(names) - 1} more" if len(names) > 1 else f"{what} {names[0]}"
        for what, names in (("missing", missing), ("unexpected", unexpected or others))
        if names
    ]
    return ", ".join(faults)


def _shape(sizes: Iterable[int]) -> str:
    return " x ".join(str(size) for size in sizes)
