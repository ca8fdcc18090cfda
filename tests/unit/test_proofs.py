"""docs/proofs.md names what is there: every file holds a test, and no folder of tests goes unnamed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "proofs.md"
NAMED = re.compile(r"`(tests/[^`\s]*)`")


def holds_a_test(file: Path) -> bool:
    """Return whether a file defines a test."""
    tree = ast.parse(file.read_text("utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in ast.walk(tree))


def faults(page: str, repository: Path) -> list[str]:
    """Return a line for each name of ``page`` that is no test, and for each folder of tests that it does not name."""
    named = {name.rstrip("/") for name in NAMED.findall(page)}
    broken = []
    for name in sorted(named):
        path = repository / name
        if name.endswith(".py"):
            if not path.is_file():
                broken.append(f"{name} is not there")
            elif not holds_a_test(path):
                broken.append(f"{name} holds no test")
        elif not path.is_dir():
            broken.append(f"{name} is no folder")
    folders = {file.parent.relative_to(repository).as_posix() for file in (repository / "tests").rglob("test_*.py")}
    covered = named | {name.rpartition("/")[0] for name in named if name.endswith(".py")}
    return broken + [f"no claim names {folder}" for folder in sorted(folders - covered)]


def test_the_page_names_what_is_there():
    assert faults(PAGE.read_text("utf-8"), REPOSITORY) == []


def test_each_row_names_where_it_is_held():
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ") and "---" not in line]
    claims = [row for row in rows if row != "| claim | where it is held |"]
    assert claims
    where = [row.strip("| ").rpartition(" | ")[2] for row in claims]
    assert [
        row for row, place in zip(claims, where, strict=True) if "`" not in place and "every export" not in place
    ] == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a repository with a folder of tests, one inside it, and a file without a test."""
    (tmp_path / "tests" / "unit" / "index").mkdir(parents=True)
    for name in ("unit/test_one.py", "unit/index/test_two.py"):
        (tmp_path / "tests" / name).write_text("def test_it():\n    pass\n")
    (tmp_path / "tests" / "unit" / "helper.py").write_text('"""It speaks of def test_it()."""\n')
    return tmp_path


BOTH = "| a | `tests/unit/test_one.py` |\n| b | `tests/unit/index/test_two.py` |\n"


@pytest.mark.parametrize("page", [BOTH, "| a | `tests/unit/test_one.py`, `tests/unit/index/` |\n"])
def test_files_and_folders_that_are_there_pass(tree: Path, page: str):
    assert faults(page, tree) == []


@pytest.mark.parametrize(
    ("page", "line"),
    [
        (f"{BOTH}| c | `tests/unit/test_gone.py` |\n", "tests/unit/test_gone.py is not there"),
        (f"{BOTH}| c | `tests/unit/helper.py` |\n", "tests/unit/helper.py holds no test"),
        (f"{BOTH}| c | `tests/triton/` |\n", "tests/triton is no folder"),
        ("| a | `tests/unit/test_one.py` |\n", "no claim names tests/unit/index"),
        ("| b | `tests/unit/index/test_two.py` |\n", "no claim names tests/unit"),
    ],
)
def test_what_is_not_there_and_what_is_not_named_is_found(tree: Path, page: str, line: str):
    assert faults(page, tree) == [line]
