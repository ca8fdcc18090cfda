"""Assembles the model repository of a generation from the templates of ``model_repository/``.

A template keeps its version folder ``1``; here it becomes the generation's serial number, the ensembles' steps are
pinned to it, and the embedding's width is filled in where a backend holds it against the graph. A Python model's
configuration is the same for every generation: changing it would reload the versions that serve.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident.errors import ExportError
from trident.generation.generation import Identity
from trident.retrieval.tensors import EMBEDDING

MODELS = ("tokenizer", "encoder", "retriever", "pipeline", "embed", "search")
SUGGESTER = "suggester"
SUGGESTING = (SUGGESTER, "suggest")  # of a generation that has suggestions
TEMPLATE_VERSION = "1"


def template_folder() -> Path:
    """Return the folder of the templates: inside the installed package, or the repository's own.

    Raises:
        ExportError: If neither is there.
    """
    here = Path(__file__).resolve()
    for folder in (here.parent / "model_repository", here.parents[2] / "model_repository"):
        if (folder / "search" / "config.pbtxt").is_file():
            return folder
    raise ExportError("the templates of model_repository/ are missing: install trident-search again")


def assemble(output: Path, identity: Identity, *, dimension: int, models: Sequence[str] = MODELS) -> dict[str, Path]:
    """Write the model repository of a generation, without the served files.

    Args:
        output: The folder to make.
        identity: Written into every version folder as ``generation.json``.
        dimension: D, the width of an embedding.
        models: Which of the templates.

    Returns:
        The version folder of each model, for the caller to fill.
    """
    templates = template_folder()
    folders = {}
    for model in models:
        version = output / model / str(identity.serial)
        version.mkdir(parents=True)
        for path in sorted((templates / model).glob("**/config.pbtxt")) + sorted(
            (templates / model).glob("configs/*.pbtxt")
        ):
            name = path.relative_to(templates)
            target = output / name
            target.parent.mkdir(exist_ok=True)
            template = path.read_text(encoding="utf-8")
            target.write_text(render(template, serial=identity.serial, dimension=dimension))
        for adapter in (templates / model / TEMPLATE_VERSION).glob("*.py"):
            shutil.copyfile(adapter, version / adapter.name)
        identity.save(version)
        folders[model] = version
    return folders


def render(template: str, *, serial: int, dimension: int) -> str:
    """Return a ``config.pbtxt`` with the steps pinned to a version and the embedding's width filled in.

    Raises:
        ExportError: If the text is no model configuration.
    """
    config = ModelConfig()
    try:
        text_format.Parse(template, config)
    except text_format.ParseError as error:
        raise ExportError(f"a template of model_repository/ is no model configuration: {error}") from error
    for step in config.ensemble_scheduling.step:
        step.model_version = serial
    for tensor in [*config.input, *config.output] if config.platform else []:  # Python models have a backend instead
        if tensor.name == EMBEDDING:
            tensor.dims[:] = [dimension]
    return str(text_format.MessageToString(config))
