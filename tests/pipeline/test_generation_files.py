"""The files of a generation are those that its manifest names, and each damage is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from trident.encoder import file_sample
from trident.errors import FormatError, GenerationError
from trident.generation.generation import MANIFEST_FILE, Generation, write_manifest


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "model.onnx is missing; export again"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-10]),
            "model.onnx must have .* bytes, got .*: it was changed",
        ),
        (lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]), "model.onnx was changed after the export"),
        (lambda path: (path.parent / "extra").write_text("x"), "extra is not in the manifest; remove it"),
    ],
)
def test_changed_files_are_found(generation: Generation, tmp_path: Path, damage: object, message: str) -> None:
    copy = Generation.load(Path(shutil.copytree(generation.folder, tmp_path / generation.id)))
    copy.verify_files()
    damage(copy.version_folder("encoder") / "model.onnx")  # type: ignore[operator]
    for check in (copy.verify_files, copy.check_files):
        with pytest.raises(GenerationError, match=message):
            check()


def test_a_byte_in_the_middle_of_a_large_file_is_found_by_the_whole_hash(
    generation: Generation, tmp_path: Path
) -> None:
    """A megabyte more than is read whole at a server's start; the byte lies between the pages that are looked at."""
    size = file_sample.WHOLE_BYTES + 2**20
    copy = Generation.load(Path(shutil.copytree(generation.folder, tmp_path / generation.id)))
    path = copy.folder / "large"
    path.write_bytes(bytes(size))
    (copy.folder / MANIFEST_FILE).unlink()
    write_manifest(copy.folder, copy.manifest)
    copy = Generation.load(copy.folder)
    with path.open("r+b") as file:
        file.seek(size // 2 + 50_000)
        file.write(b"x")
    copy.check_files()
    with pytest.raises(GenerationError, match="large was changed after the export"):
        copy.verify_files()
    path.write_bytes(bytes(size // 2) + b"x" * (size - size // 2))
    with pytest.raises(GenerationError, match="large was changed after the export"):
        copy.check_files()


def test_damaged_manifests_are_named(generation: Generation, tmp_path: Path) -> None:
    folder = tmp_path / "g"
    folder.mkdir()
    with pytest.raises(GenerationError, match=r"is no generation: it has no manifest\.json"):
        Generation.load(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(GenerationError, match="is damaged"):
        Generation.load(folder)
    table = json.loads((generation.folder / "manifest.json").read_text())
    for made_in, whose in ((1, "an earlier"), (99, "a later")):
        (folder / "manifest.json").write_text(json.dumps({**table, "format": made_in}))
        with pytest.raises(FormatError, match=rf"was made by {whose} Trident \(format {made_in}, .*\): export again"):
            Generation.load(folder)
    (folder / "manifest.json").write_text(json.dumps({**table, "format": "new"}))
    with pytest.raises(GenerationError, match=r"is damaged: .*format"):
        Generation.load(folder)
