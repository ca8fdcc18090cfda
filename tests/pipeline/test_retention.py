"""Old generations go, those that a server needs stay, and no serial number is given twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trident.errors import ConfigError, ServerError
from trident.generation.generation import Generation, find_generation, generation_id, list_generations
from trident.generation.serials import generations_lock, next_serial
from trident.generation.state import ServingFolder
from trident.promotion.inventory import inventory
from trident.promotion.retention import prune
from trident.server.runtime_repository import add_components


@pytest.fixture
def five(tiny_generations: Path, tmp_path: Path) -> list[Generation]:
    """Return five generations in ``tmp_path``; copies that differ by name."""
    source = list_generations(tiny_generations)[0]
    made = []
    for serial in range(1, 6):
        table = json.loads((source.folder / "manifest.json").read_text())
        table["parts"]["copy"] = str(serial)
        table |= {"serial": serial, "id": generation_id(table["parts"])}
        folder = tmp_path / table["id"]
        shutil.copytree(source.folder, folder)
        for model in (folder / "model_repository").iterdir():
            (model / str(source.serial)).rename(model / str(serial))
            identity = model / str(serial) / "generation.json"
            identity.write_text(json.dumps({**json.loads(identity.read_text()), "id": table["id"], "serial": serial}))
        (folder / "manifest.json").write_text(json.dumps(table))
        made.append(Generation.load(folder))
    return made


def ids(folder: Path) -> list[str]:
    return [generation.id for generation in list_generations(folder)]


def test_the_newest_stay(five: list[Generation], tmp_path: Path) -> None:
    assert prune(tmp_path, keep=2) == [five[0].id, five[1].id, five[2].id]
    assert ids(tmp_path) == [five[3].id, five[4].id]
    assert not list(tmp_path.glob(".pruned*"))
    assert prune(tmp_path, keep=2) == []


def test_those_of_an_earlier_trident_go_first(five: list[Generation], tmp_path: Path) -> None:
    path = five[4].folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    assert find_generation(tmp_path).id == five[3].id
    assert prune(tmp_path, keep=4) == [five[4].id]
    assert len(ids(tmp_path)) == 4


def test_what_serves_served_before_or_is_loaded_stays(five: list[Generation], tmp_path: Path) -> None:
    one, other = ServingFolder.of(tmp_path, 8000), ServingFolder.of(tmp_path, 9000)
    for folder in (one, other):
        folder.path.mkdir(parents=True)
    one.write_state(five[0].id, five[1].id)
    (other.models / "retriever").mkdir(parents=True)
    add_components(other.models, five[2], plan=None)
    assert prune(tmp_path, keep=1) == [five[3].id]
    assert ids(tmp_path) == [five[number].id for number in (0, 1, 2, 4)]
    with one.lock(), pytest.raises(ServerError, match="another promotion or rollback is under way"):
        prune(tmp_path, keep=1)
    with pytest.raises(ConfigError, match="the number of generations to keep must be >= 1, got 0"):
        prune(tmp_path, keep=0)


def test_a_serial_number_is_given_once(five: list[Generation], tmp_path: Path) -> None:
    with generations_lock(tmp_path):
        assert next_serial(tmp_path) == 6
        shutil.rmtree(five[4].folder)
        assert next_serial(tmp_path) == 7
        (tmp_path / ".serial").write_text("not a number")
        assert next_serial(tmp_path) == 5  # what is there still counts


def test_the_list_marks_what_is_damaged(five: list[Generation], tmp_path: Path, run_warm: Callable[..., Any]) -> None:
    folder = ServingFolder.of(tmp_path, 8000)
    folder.path.mkdir(parents=True)
    folder.write_state(five[1].id, five[0].id)
    (five[2].folder / "manifest.json").write_text("{}")
    rows = inventory(tmp_path, 8000)
    assert [row.serial for row in rows] == [1, 2, 4, 5, None]
    assert "manifest.json is damaged" in rows[-1].damage
    assert [row.id for row in rows if row.serving] == [five[1].id]
    assert [row.id for row in rows if row.previous] == [five[0].id]
    assert not any(row.loaded for row in rows)  # no server runs
    shown = run_warm("generations", "--generations", tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "damaged" in shown.stdout
    shutil.rmtree(five[2].folder)
    pruned = run_warm("generations", "--generations", tmp_path, "--prune", "--keep", "1", "--json")
    assert json.loads(pruned.stdout)["removed"] == [five[3].id]
    wrong = run_warm("generations", "--generations", tmp_path, "--prune")
    assert wrong.returncode == 2
    assert "--prune and --keep N go together, got only one of them" in wrong.stderr


@pytest.mark.parametrize("command", [("generations",), ("rules", "show"), ("cluster", "status")])
def test_a_folder_that_is_not_there_is_refused(run_warm, tmp_path: Path, command: tuple[str, ...]) -> None:
    """It is not taken for an empty one."""
    absent = tmp_path / "generation"
    done = run_warm(*command, "--generations", absent)
    rule = "--generations must be a folder of generations"
    assert (done.returncode, done.stderr) == (1, f"trident: {rule}, got {absent} (no such folder)\n")
    absent.write_text("")
    done = run_warm(*command, "--generations", absent)
    assert (done.returncode, done.stderr) == (1, f"trident: {rule}, got {absent} (a file)\n")
    absent.unlink()
    absent.mkdir()
    assert run_warm(*command, "--generations", absent).returncode == 0
