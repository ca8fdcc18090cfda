"""A second tiny generation that finds other products, and the run that it comes from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation


@pytest.fixture(scope="session")
def worse_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny run with what it learned turned round."""
    folder = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "worse"))
    path = folder / "adapter" / "adapter_model.safetensors"
    weights = {name: value * (-1 if "lora_B" in name else 1) for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def two_generations(
    tiny_generations: Path,
    worse_run: Path,
    tiny_data: Path,
    made_once: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder with the tiny generation, serial 1, and that of the worse run, serial 2."""

    def make(folder: Path) -> None:
        shutil.copytree(tiny_generations, folder)
        config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
        catalogue = tiny_data / "products.csv"
        export_generation(ExportOrder(worse_run, catalogue, folder, config, force="a worse one is needed"))

    made = made_once("two-generations", make)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("two") / "generations"))
