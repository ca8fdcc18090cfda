"""docs/architecture.md names rooms, files and functions that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
SOURCES = ("core", "train", "export", "client", "gpu", "model_repository", "tests")
FILES = [file for folder in SOURCES for file in sorted((REPOSITORY / folder).rglob("*.py"))]
CODE = "\n".join(file.read_text("utf-8") for file in FILES)
DEFINED = set(re.findall(r"^\s*(?:(?:def|class) |self\.)?(\w+)(?:[(:]| =)", CODE, re.MULTILINE))
OF_OTHERS = {"input_map", "output_map", "TYPE_CHECKING", "KeyError"}  # Triton's, Python's
TRIED = {"max_gap", "catalogue_share", "map_at_10"}  # what was added to try the page
NAMED = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("package", ["core/trident", "train/trident_train", "export/trident_export"])
def test_every_room_and_every_module_outside_one_stands_in_the_picture(package: str):
    picture = " ".join(re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).split()
    rooms = {f"{path.parent.name}/" for path in (REPOSITORY / package).glob("*/__init__.py")}
    modules = {path.stem for path in (REPOSITORY / package).glob("*.py")} - {"__init__"}
    assert sorted((rooms | modules) - {word.rstrip(",:") for word in picture}) == []


def test_every_file_named_is_there():
    files = {name for name in NAMED if re.fullmatch(r"[\w./]+\.(py|pbtxt|md|j2)", name) and "NAME" not in name}
    known = [f"/{file.relative_to(REPOSITORY).as_posix()}" for file in REPOSITORY.rglob("*.*")]
    assert files
    assert [name for name in sorted(files) if not any(path.endswith(f"/{name}") for path in known)] == []


def test_every_function_class_and_constant_named_is_defined():
    names = {name for name in NAMED if re.fullmatch(r"[A-Za-z_]\w*(\.[a-z_]+)?", name)}
    parts = {part for name in names if not name.endswith((".py", ".md")) for part in name.split(".")}
    words = {part for part in parts if "_" in part or not part.islower()}  # a plain word may be anything
    missing = sorted(words - DEFINED - OF_OTHERS - TRIED)
    assert not missing, ", ".join(missing)
