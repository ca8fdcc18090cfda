"""Keeps a tritonserver running: one that dies is started again with the generation that serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ConfigError, ServerError, TridentError
from trident.generation.generation import generation_by_id
from trident.generation.state import ServingFolder
from trident.server.server import TritonServer
from trident.server.serving import ServeOptions, start_serving
from trident.server.tritonserver import error_lines

LOG_LINES = 1000
SHOWN_LINES = 8
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
    policy: RestartPolicy | None = None,
    report: Callable[[str], None],
) -> None:
    """Start a server again whenever it dies; this returns only by an error.

    What the dead one left, its models' processes and its shared memory, is removed first. The kernel stops the server
    with the calling thread: call this where the process lives as long as the server is wanted.

    Args:
        server: Running.
        generations: The folder of generations.
        options: As it was started.
        policy: When to give up; None: the defaults.
        report: Called with a line at each death and restart.

    Raises:
        ServerError: If it died too often within a while; its own error lines are in the message.
    """
    policy = policy or RestartPolicy()
    folder = ServingFolder.of(generations, options.http_port)
    deaths: list[float] = []
    said = f"tritonserver ended by itself with status {server.wait()}"
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
        said = f"tritonserver ended by itself with status {server.wait()}"


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
