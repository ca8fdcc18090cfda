"""A running server as the commands that operate it see it: its folder, its control, who serves."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ServerError
from trident.generation.generation import Generation, generation_by_id
from trident.generation.state import ServerRecord, ServingFolder, ServingState
from trident.probe.control import ModelControl
from trident.probe.golden_check import answering_generation

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunningServer:
    """A server that ``trident serve`` has made ready; ``find_running`` one."""

    generations: Path
    folder: ServingFolder
    record: ServerRecord
    control: ModelControl

    def state(self) -> ServingState:
        """Return which generation serves: the one that answers, should it be another than the state says.

        A promotion that was killed between its switch and its last line leaves such a state; it is put right here.

        Raises:
            ServerError: If nobody answers, or a server of another folder, or there is no state.
            GenerationError: If what answers is no generation of this folder; the state stays as it is.
        """
        state = self.folder.state()
        if state is None:
            raise ServerError(f"{self.folder.path} has no state.json: start trident serve again")
        self.control.index()  # a server of another folder does not take our key
        answering = answering_generation(self.control.url)
        if answering != state.serving:
            found = generation_by_id(self.generations, answering)
            log.warning("generation %s answers, not %s: a promotion was cut off", found.id, state.serving)
            state = self.folder.write_state(found.id, state.serving)
        return state

    def serving(self) -> Generation:
        """Return the generation that serves; as ``state``.

        Raises:
            GenerationError: If its folder is gone.
        """
        return generation_by_id(self.generations, self.state().serving)


def find_running(generations: Path, http_port: int) -> RunningServer:
    """Return the ready server on an HTTP port of this machine.

    Raises:
        ServerError: If there is none, or the key cannot be read.
    """
    folder = ServingFolder.of(generations, http_port)
    record = folder.server()
    if record is None:
        raise ServerError(
            f"no server of {generations} is ready on HTTP port {http_port}: start one with trident serve, or name its "
            "port with --http-port"
        )
    return RunningServer(
        generations=generations,
        folder=folder,
        record=record,
        control=ModelControl(url=record.http, key=folder.key(), grpc=None if record.tls else record.grpc),
    )
