"""Keeps a tritonserver running: one that dies is started again with the generation that serves.

So does a model whose process died: it is loaded again beside what is left of it, or else the server is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ConfigError, ServerError, TridentError
from trident.generation.generation import generation_by_id
from trident.generation.state import ServingFolder
from trident.processes.model_processes import ModelProcesses, load_again
from trident.processes.orphans import adopts_orphans, reap_orphans
from trident.server.server import TritonServer
from trident.server.serving import ServeOptions, control_of, prove, start_serving
from trident.server.tritonserver import error_lines

LOG_LINES = 1000
SHOWN_LINES = 8
LOOK_S = 0.5  # between two looks at the processes
LOCK_WAIT_S = 60.0  # for a promotion that was under way when the server died


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """When to start again, and when to give up."""

    deaths: int = 5  # so many within window_s, and it is given up
    window_s: float = 300.0
    first_delay_s: float = 0.5  # doubled with every death within the window
    longest_delay_s: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.deaths < 1:
            raise ConfigError(f"deaths must be >= 1, got {self.deaths}")
        if min(self.window_s, self.first_delay_s, self.longest_delay_s) < 0:
            raise ConfigError("window_s, first_delay_s and longest_delay_s must be >= 0")

    def delay_s(self, deaths: int) -> float:
        """Return how long to wait after so many deaths within the window."""
        return min(self.first_delay_s * 2.0 ** (deaths - 1), self.longest_delay_s)


def supervise(
    server: TritonServer,
    generations: Path,
    options: ServeOptions,
    *,
    processes: ModelProcesses | None = None,
    policy: RestartPolicy | None = None,
    report: Callable[[str], None],
) -> None:
    """Start a server, or a model of it, again whenever it dies; this returns only by an error.

    What the dead one left, its models' processes and its shared memory, is removed first. The kernel stops the server
    with the calling thread: call this where the process lives as long as the server is wanted.

    Args:
        server: Running.
        generations: The folder of generations.
        options: As it was started.
        processes: Of its models; None: they are watched all the same, and nobody else is told.
        policy: When to give up; None: the defaults.
        report: Called with a line at each death and restart.

    Raises:
        ServerError: If it died too often within a while; its own error lines are in the message.
    """
    policy = policy or RestartPolicy()
    folder = ServingFolder.of(generations, options.http_port)
    watched = processes or ModelProcesses(folder)
    deaths: list[float] = []
    said = _watch(server, generations, options, watched, report)
    while True:
        said = "\n  ".join([said, *error_lines(server.log_tail(LOG_LINES))[:SHOWN_LINES]])
        folder.remove_server()
        server.stop()
        deaths = [at for at in deaths if at > time.monotonic() - policy.window_s] + [time.monotonic()]
        if len(deaths) >= policy.deaths:
            raise ServerError(
                f"tritonserver died {len(deaths)} times within {policy.window_s:g} s and is not started again; the "
                f"last time: {said}"
            )
        delay_s = policy.delay_s(len(deaths))
        report(f"{said.splitlines()[0]}; starting it again in {delay_s:g} s")
        time.sleep(delay_s)
        try:
            generation = restart(server, generations, options)
        except (TridentError, OSError) as error:  # a full disk too: there may be space the next time
            said = str(error)
            continue
        report(f"ready again: generation {generation}")
        said = _watch(server, generations, options, watched, report)


def _watch(
    server: TritonServer,
    generations: Path,
    options: ServeOptions,
    processes: ModelProcesses,
    report: Callable[[str], None],
) -> str:
    """Return why a server has to be started again, once it has to; models that lack a process are mended meanwhile."""
    orphans = adopts_orphans()
    while server.is_running:
        for model, version in processes.look(server.pid):
            try:
                _mend(server, generations, options, processes, (model, version), report)
            except (TridentError, OSError) as error:
                return f"a process of model '{model}' died, and the model could not be loaded again ({error})"
        if orphans:
            reap_orphans(server.pid)
        server.wait(LOOK_S)
    return f"tritonserver ended by itself with status {server.wait()}"


def _mend(
    server: TritonServer,
    generations: Path,
    options: ServeOptions,
    processes: ModelProcesses,
    key: tuple[str, int],
    report: Callable[[str], None],
) -> None:
    """Load a model again of which a process died, unless a promotion is under way: then at the next look."""
    folder = ServingFolder.of(generations, options.http_port)
    with ExitStack() as held:
        try:
            held.enter_context(folder.lock())
        except ServerError:
            return
        report(f"a process of version {key[1]} of model '{key[0]}' died; loading the model again")
        if not load_again(folder, control_of(server, folder), key):
            processes.was_none(key)
            return
        state = folder.state()
        if state is not None:
            prove(server, generation_by_id(generations, state.serving), options)
    processes.mended(key)
    report(f"model '{key[0]}' has all of its processes again")


def restart(server: TritonServer, generations: Path, options: ServeOptions) -> str:
    """Start a stopped server with the generation that the state names, and return its id.

    Raises:
        ServerError: If it does not start or answers otherwise than stored, or a promotion does not end within a minute.
        GenerationError: If the generation is gone.
    """
    folder = ServingFolder.of(generations, options.http_port)
    with folder.lock(wait_s=LOCK_WAIT_S):
        state = folder.state()
        if state is None:
            raise ServerError(f"{folder.path} has no state.json: start trident serve again")
        generation = generation_by_id(generations, state.serving)
        start_serving(server, folder, generation, options)
    return generation.id
