"""Folders that appear whole or not at all, whatever ends the process that makes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trident.errors import TridentError
from trident.generation.staging import scratch_folder, staged_folder, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from trident.generation.staging import staged_folder
with staged_folder(Path(sys.argv[1]), overwrite=True) as staging:
    (staging / "half").write_text("new")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "demo"


@pytest.fixture
def old(target: Path) -> Path:
    """Return a file of a whole folder that is there already."""
    target.mkdir(parents=True)
    (target / "old").write_text("old")
    return target / "old"


@pytest.fixture(scope="module")
def dead() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def killed(target: Path) -> None:
    """Make a folder in a process that is killed half-way."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert any(path.name.startswith(".") for path in target.parent.iterdir())


def make_half(target: Path, error: BaseException) -> None:
    """Fail with an error while a folder is made."""
    with staged_folder(target, overwrite=True) as staging:
        (staging / "file").write_text("x")
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_is_there_at_the_end_and_not_before(target: Path) -> None:
    with staged_folder(target) as staging:
        (staging / "file").write_text("x")
        assert staging.parent == target.parent, "a rename needs one file system"
        assert not target.exists()
    assert names(target.parent) == ["demo"]
    assert names(target) == ["file"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_error_leaves_nothing_not_even_the_parent(target: Path) -> None:
    with pytest.raises(ValueError, match="half-way"):
        make_half(target, ValueError("half-way"))
    assert not target.parent.exists()


def test_an_error_leaves_the_old_folder(old: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make_half(old.parent, KeyboardInterrupt())
    assert names(old.parent.parent) == ["demo"]
    assert old.read_text() == "old"


def test_an_existing_folder_is_refused_and_kept(old: Path) -> None:
    message = r"demo exists already: choose another --out, or add --overwrite$"
    with pytest.raises(TridentError, match=message), staged_folder(old.parent):
        pytest.fail("the block must not run")
    assert names(old.parent.parent) == ["demo"]
    assert old.read_text() == "old"


def test_overwriting_replaces_the_whole_folder(old: Path) -> None:
    with staged_folder(old.parent, overwrite=True) as staging:
        (staging / "file").write_text("x")
        assert old.exists()
    assert names(old.parent.parent) == ["demo"]
    assert names(old.parent) == ["file"]


def test_what_a_killed_process_left_is_removed(old: Path) -> None:
    killed(old.parent)
    assert old.read_text() == "old"
    with staged_folder(old.parent, overwrite=True) as staging:
        (staging / "file").write_text("x")
    assert names(old.parent.parent) == ["demo"]
    assert names(old.parent) == ["file"]


@pytest.mark.parametrize("name", ["staging-1", "demo[1]", "a.staging-b", "*"])
def test_any_name_is_cleaned_up_after(tmp_path: Path, name: str) -> None:
    killed(tmp_path / name)
    with staged_folder(tmp_path / name):
        pass
    assert names(tmp_path) == [name]


def test_a_kill_between_the_two_renames_gives_the_old_folder_back(target: Path, dead: int) -> None:
    for name, file in ((f".demo.staging-{dead}-abc", "new"), (f".demo.staging-{dead}-abc-old", "old")):
        (target.parent / name).mkdir(parents=True)
        (target.parent / name / file).write_text(file)
    with pytest.raises(TridentError, match="exists already"), staged_folder(target):
        pytest.fail("the block must not run")
    assert names(target.parent) == ["demo"]
    assert names(target) == ["old"]


def test_a_kill_after_both_renames_keeps_the_new_folder(old: Path, dead: int) -> None:
    retired = old.parent.with_name(f".demo.staging-{dead}-abc-old")
    retired.mkdir()
    with scratch_folder(old.parent.parent, "demo"):
        assert not retired.exists()
    assert old.read_text() == "old"


def test_what_others_work_on_is_left_alone(old: Path, dead: int) -> None:
    parent = old.parent.parent
    others = [f".demo.staging-{os.getppid()}-abc", f".other.staging-{dead}-abc", ".demo.staging-notes", ".demo"]
    for name in others:
        (parent / name).mkdir()
    with staged_folder(old.parent, overwrite=True):
        pass
    assert names(parent) == sorted([*others, "demo"])


def test_a_scratch_folder_goes_and_what_left_it_stays(tmp_path: Path) -> None:
    parent = tmp_path / "generations"
    with scratch_folder(parent, "export") as scratch:
        (scratch / "whole").mkdir()
        (scratch / "half").mkdir()
        (scratch / "whole").rename(parent / "whole")
    assert names(parent) == ["whole"]


@pytest.mark.parametrize("below", ["demo", "runs/demo"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    target = tmp_path / "file" / below
    message = r"^[^\n]+file(/runs)? cannot be written: [A-Z][a-z ]+; [^\n]+ name another place[^\n]*$"
    with pytest.raises(TridentError, match=message), staged_folder(target):
        pytest.fail("the block must not run")
    assert (tmp_path / "file").read_text() == "x"


def test_a_text_is_replaced_in_one_step(tmp_path: Path) -> None:
    for text in ("old", "neu: Größe"):
        write_text(tmp_path / "state.json", text)
        assert (tmp_path / "state.json").read_text(encoding="utf-8") == text
    assert names(tmp_path) == ["state.json"]
