"""The processes of a tritonserver's Python models: which there are, which died, and how a model gets new ones.

A model's process that dies (out of memory, most of the time) leaves Triton saying that everything is ready: requests
that fall to it fail, and it is never started again (seen on 2.51). Asking a query does not show it, since priorities
send a lone one to the first instance. So the processes themselves are looked at: one that died stays in the table of
processes as a zombie of tritonserver, which waits for it when the model is unloaded only.

A model gets new processes when a file in its version folder is newer: the old ones answer until the new ones are ready.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ServerError
from trident.generation.state import ProcessRecord, ServingFolder
from trident.probe.control import ModelControl

LOAD_AGAIN = "load-again"  # a file whose time has Triton load the model again
CONFIRM_S = 1.0  # a process that ends as it should is a zombie for less
LOAD_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class ModelProcess:
    """A process of one version of a model."""

    pid: int
    model: str
    version: int

    @property
    def key(self) -> tuple[str, int]:
        """Model and version."""
        return self.model, self.version


def children(parent: int) -> dict[int, str]:
    """Return the processes that a process has started, and the state of each: a letter, ``Z`` for a zombie."""
    found = {}
    for pid in _listed(parent):
        try:
            state, above = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[:2]
        except (OSError, ValueError):  # it ended just now
            continue
        if int(above) == parent:
            found[pid] = state
    return found


def _listed(parent: int) -> list[int]:
    """Return the children by the kernel's list, or every process where it keeps none."""
    lists = [*Path(f"/proc/{parent}/task").glob("*/children")]
    if not lists:
        return [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    found = []
    for path in lists:
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:  # the thread ended just now
            continue
    return found


def model_of(pid: int, models: Path) -> ModelProcess | None:
    """Return what a living process serves by its command line; None for another program, or one that ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    for word in words[1:]:
        path = Path(os.fsdecode(word))
        if path.suffix == ".py" and path.parent.name.isdigit() and path.parents[2] == models:
            return ModelProcess(pid, path.parents[1].name, int(path.parent.name))
    return None


class ModelProcesses:
    """Watches the processes of one server's models; call ``look`` every half second or so.

    Args:
        folder: Of the server; what died is written down there, for the metrics.
    """

    def __init__(self, folder: ServingFolder) -> None:
        """Nothing is known yet."""
        self._folder = folder
        self._models = folder.models.resolve()
        self._server = 0  # pid
        self._known: dict[int, ModelProcess] = {}
        self._ended: dict[int, float] = {}  # since when a process is seen as a zombie
        self._down: dict[tuple[str, int], float] = {}  # a model that lacks a process, and since when
        self._died = 0

    def faults(self) -> tuple[str, ...]:
        """Return a line for each model that lacks a process."""
        return tuple(
            f"a process of version {version} of model '{model}' died {time.monotonic() - since:.0f} s ago"
            for (model, version), since in list(self._down.items())
        )

    def look(self, server_pid: int) -> list[tuple[str, int]]:
        """Return the models that lack a process, with their versions.

        Args:
            server_pid: Of the running server; another one than before starts from nothing.
        """
        if server_pid != self._server:
            self._server, self._known, self._ended, self._down = server_pid, {}, {}, {}
            self._write()
        states, now = children(server_pid), time.monotonic()
        alive = self._learn(states)
        self._ended = {pid: self._ended.get(pid, now) for pid in states if pid not in alive}
        living = Counter(self._known[pid].key for pid in alive if pid in self._known)
        for pid in [pid for pid in self._known if pid not in alive]:
            is_zombie = pid in self._ended
            if is_zombie and now - self._ended[pid] < CONFIRM_S:
                continue
            process = self._known.pop(pid)
            if is_zombie or not living[process.key]:
                self._died += 1
                self._down.setdefault(process.key, now)
                self._write()
        return list(self._down)

    def mended(self, key: tuple[str, int]) -> None:
        """Note that a model has all of its processes, or that its version is gone: others of it that died are too."""
        states = children(self._server)
        for pid in [pid for pid, each in self._known.items() if each.key == key and states.get(pid) == "Z"]:
            del self._known[pid]
            self._died += 1
        self._learn(states)
        self._down.pop(key, None)
        self._write()

    def was_none(self, key: tuple[str, int]) -> None:
        """Note that what ended had been unloaded: no process died."""
        self._died -= 1
        self.mended(key)

    def _learn(self, states: dict[int, str]) -> list[int]:
        """Return the living processes, and remember what each serves."""
        alive = [pid for pid, state in states.items() if state not in "ZX"]
        for pid in alive:
            if pid not in self._known and (found := model_of(pid, self._models)) is not None:
                self._known[pid] = found
        return alive

    def _write(self) -> None:
        self._folder.write_processes(ProcessRecord(died=self._died, down=len(self._down)))


def load_again(folder: ServingFolder, control: ModelControl, key: tuple[str, int]) -> bool:
    """Give a model new processes, and return whether its version is loaded at all; call it under the folder's lock.

    Args:
        folder: Of the server.
        control: Of the server, with the key of its folder.
        key: Model and version.

    Raises:
        ServerError: If the server does not answer, or cannot load it.
        OSError: If the time of a file cannot be set.
    """
    model, version = key
    if version not in control.loaded(model):
        return False
    (folder.models / model / str(version) / LOAD_AGAIN).touch()
    control.load(model)
    control.wait_until_ready(model, version, timeout_s=LOAD_TIMEOUT_S)
    if version not in control.loaded(model):
        raise ServerError(f"version {version} of model '{model}' is not ready after it was loaded again")
    return True
