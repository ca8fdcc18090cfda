"""Paths that this user may not use, in a line with the remedy; and rights by the umask."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from trident.errors import TridentError
from trident.generation.staging import staged_folder
from trident.rights import give_rights, path_error, require_writable, require_writable_folder, umask

# The superuser may do everything: a test that needs a refusal goes without that.
PLAIN_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that nobody may write."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    yield folder
    folder.chmod(0o755)


def plain_python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Return what an interpreter did that has to obey the rights of files."""
    command = [*PLAIN_USER, sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def command(*arguments: object) -> tuple[int, str]:
    done = plain_python("-m", "trident", *arguments)
    return done.returncode, done.stderr


READ = """
import sys
from pathlib import Path
from trident.rights import path_error
try:
    Path(sys.argv[1]).read_text()
except OSError as error:
    print(path_error(error))
"""
WRITABLE = "import sys; from pathlib import Path; from trident.rights import *; require_writable(Path(sys.argv[1]))"


def test_a_folder_can_be_made_where_the_first_one_above_it_can_be_written(locked: Path, tmp_path: Path) -> None:
    require_writable_folder(tmp_path)
    require_writable_folder(tmp_path / "new" / "run")
    (tmp_path / "file").touch()
    with pytest.raises(TridentError, match=r"file/run cannot be written: .*/file is a file; name another place"):
        require_writable_folder(tmp_path / "file" / "run")
    said = plain_python("-c", WRITABLE.replace("require_writable(", "require_writable_folder("), locked / "run").stderr
    assert f"{locked / 'run'} cannot be written: Permission denied; " in said


def test_a_folder_that_cannot_be_written_is_one_line(locked: Path) -> None:
    code, said = command("sample", "--out", locked / "sample")
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith(f"trident: {locked}/.sample-")
    assert f"cannot be written: Permission denied; {locked} belongs to " in said
    assert "mode 555: give user " in said
    assert said.endswith("the right (chown, chmod), or name a place where it has it\n")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text("{}")
    (tmp_path / "base.json").chmod(0)
    said = plain_python("-c", READ, tmp_path / "base.json").stdout
    assert said.startswith(f"{tmp_path}/base.json cannot be read: Permission denied; {tmp_path}/base.json belongs to ")
    assert "mode 000: give user " in said


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, said = command("sample", "--out", tmp_path / "file" / "below" / "sample")
    assert code == 1
    assert "file" in said
    assert said.endswith("cannot be written: Not a directory; a part of the path is a file: name another place\n")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (
            errno.EROFS,
            r"^/no/such/place cannot be written: Read-only file system; it is mounted read-only: mount it",
        ),
        (
            errno.ENOSPC,
            r"^/no/such/place cannot be written: No space left on device; free disk space, or name",
        ),
        (errno.EACCES, r"Permission denied; / belongs to root, mode \d+: give user \S+ the right \(chown, chmod\)"),
    ],
)
def test_each_error_has_its_remedy(number: int, words: str) -> None:
    assert_matches(path_error(OSError(number, os.strerror(number), "/no/such/place")), words)


def test_an_error_of_a_library_keeps_its_words() -> None:
    assert_matches(
        path_error(OSError(errno.EACCES, "Failed to open\nlocal file 'x'")), r"Failed to open local file 'x'; give"
    )


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPIPE, errno.EBADF, None])
def test_what_is_a_fault_of_ours_keeps_its_traceback(number: int | None) -> None:
    assert path_error(OSError() if number is None else OSError(number, "x", "y")) is None


def assert_matches(line: str | None, words: str) -> None:
    with pytest.raises(TridentError, match=words):
        raise TridentError(line)


def test_results_are_refused_before_the_work(tmp_path: Path, locked: Path) -> None:
    require_writable(tmp_path / "new" / "report.json")
    require_writable(tmp_path / "report.json")
    (tmp_path / "report.json").write_text("{}")
    require_writable(tmp_path / "report.json")
    with pytest.raises(TridentError, match=r"locked must be a file, got a folder: name a file in it"):
        require_writable(locked)
    with pytest.raises(TridentError, match=r"x/report\.json cannot be written: .*report\.json is a file; name another"):
        require_writable(tmp_path / "report.json" / "x" / "report.json")
    done = plain_python("-c", WRITABLE, locked / "a" / "b.json")
    assert f"TridentError: {locked}/a/b.json cannot be written: Permission denied; {locked} belongs to" in done.stderr


@pytest.fixture(params=[0o022, 0o027, 0o077, 0o002])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Yield an umask that holds for the test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_weights_have_the_rights_of_the_umask(mask: int, tmp_path: Path) -> None:
    assert umask() == mask
    with staged_folder(tmp_path / "runs" / "run") as staging:
        (staging / "model").mkdir()
        save_file({"weight": torch.zeros(2)}, staging / "model" / "model.safetensors")
        (staging / "text.json").write_text("{}")
    run = tmp_path / "runs" / "run"
    for folder in (run, run / "model"):
        assert folder.stat().st_mode & 0o777 == 0o777 & ~mask
    for file in ("text.json", "model/model.safetensors"):
        assert (run / file).stat().st_mode & 0o777 == 0o666 & ~mask


def test_nobody_loses_a_right_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    (tmp_path / "outside").chmod(0o600)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "script").write_text("x")
    (folder / "script").chmod(0o777)
    give_rights(folder)
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o600
    assert (folder / "script").stat().st_mode & 0o777 == 0o777
