"""Graphs of encoders that were exported before, kept in the user's cache: the same weights make the same graph.

A shop exports one run again and again, with tomorrow's catalogue, and converting its encoder is the longest stage that
does not read the catalogue. What is taken from the cache is held against PyTorch as what was just made is.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import onnx

import trident.encoder.pooling
from trident.encoder.base_model import file_sha256
from trident.encoder.graph_files import ONNX_FILE, data_file
from trident.errors import TridentError
from trident.generation.staging import staged_folder
from trident_export.graphs import fuse, graph_file, onnx_graph, pair_graph

LARGEST_BYTES = 2**30  # of one graph; a larger one is converted each time
BUDGET_BYTES = 2**31  # of all graphs; those that were not used for longest go first
MADE_BY = ("torch", "transformers", "onnx", "onnxscript", "onnx-ir", "numpy")
HASH_FILE = "sha256"

Kind = Literal["encoder", "reranker"]

logger = logging.getLogger(__name__)


def graphs_folder() -> Path:
    """Return the folder of the graphs that are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trident" / "graphs"


def graph_key(fingerprint: str, kind: Kind = "encoder") -> str:
    """Return the hash of everything that a graph is made of: the model, the libraries, and our own conversion."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in MADE_BY]
    modules = (trident.encoder.pooling, onnx_graph, pair_graph, fuse, graph_file)
    sources = [file_sha256(Path(str(module.__file__))) for module in modules]
    return hashlib.sha256("\n".join([kind, fingerprint, *versions, *sources]).encode()).hexdigest()


def kept_or_made(
    key: str, output: Path, make: Callable[[], onnx.ModelProto], *, reuse: bool
) -> tuple[onnx.ModelProto, bool]:
    """Return a graph that lies in ``output`` then, and whether it was kept.

    Args:
        key: Of ``graph_key``.
        output: The ``.onnx`` file.
        make: Writes it and returns it; it is kept for the next time.
        reuse: Whether one that was kept is taken.
    """
    if reuse and take_graph(key, output):
        return graph_file.read_graph(output), True
    model = make()
    keep_graph(key, output)
    return model, False


def take_graph(key: str, output: Path) -> bool:
    """Return whether a graph was kept, and is whole: then it lies in ``output``."""
    folder = graphs_folder() / key
    try:
        shutil.copyfile(folder / ONNX_FILE, output)
        if file_sha256(output) == (folder / HASH_FILE).read_text(encoding="utf-8"):
            os.utime(folder)
            return True
    except OSError as error:
        logger.debug("no graph taken from %s: %s", folder, error)
    output.unlink(missing_ok=True)
    return False


def keep_graph(key: str, path: Path) -> None:
    """Keep a graph for the next export of its encoder, as far as there is room; an export does not need the cache."""
    if path.stat().st_size > LARGEST_BYTES or data_file(path).is_file():
        return
    try:
        with staged_folder(graphs_folder() / key, overwrite=True, lasting=False) as staging:
            shutil.copyfile(path, staging / ONNX_FILE)
            (staging / HASH_FILE).write_text(file_sha256(path), encoding="utf-8")
        _make_room()
    except (TridentError, OSError) as error:
        logger.debug("the graph %s is not kept: %s", path, error)


def _make_room() -> None:
    newest_first = sorted(graphs_folder().glob("[0-9a-f]*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    left = BUDGET_BYTES
    for folder in newest_first:
        left -= sum(file.stat().st_size for file in folder.iterdir())
        if left < 0:
            shutil.rmtree(folder, ignore_errors=True)
