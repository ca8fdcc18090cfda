"""Runs a tritonserver: starts it, waits until it is ready, says why when it does not, stops it without a trace."""

from __future__ import annotations

import contextlib
import errno
import http
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from trident.errors import ServerError
from trident.probe.control import exchange
from trident.processes.loading import Loading
from trident.processes.orphans import reap_group
from trident.server.tritonserver import LOOPBACK, ServerConfig, error_lines, find_tritonserver

__all__ = ["ModelStatistics", "ServerConfig", "ServerUrls", "TritonServer", "free_ports"]

POLL_S = 0.1
REPLY_TIMEOUT_S = 5.0
STOP_MARGIN_S = 5.0  # beyond exit_timeout_s, before what is left is killed
GONE_TIMEOUT_S = 2.0  # for killed processes to disappear
SHOWN_LINES = 8
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory


@dataclass(frozen=True, kw_only=True)
class ServerUrls:
    """``host:port`` of each endpoint."""

    http: str
    grpc: str
    metrics: str


@dataclass(frozen=True, kw_only=True)
class ModelStatistics:
    """What the server counted for a model since it was loaded."""

    inferences: int  # rows
    executions: int  # batches

    @property
    def mean_batch(self) -> float:
        """Rows a batch; 0 before the first."""
        return self.inferences / self.executions if self.executions else 0.0


@dataclass
class TritonServer:
    """A tritonserver as a context manager.

    Args:
        config: What to serve and where.
    """

    config: ServerConfig
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log: IO[bytes] | None = field(default=None, init=False)  # a file without a name: it goes with the last process
    # Told to the server as its name, and in front of the names of its shared memory.
    _identity: str = field(default_factory=lambda: f"trident_{secrets.token_hex(6)}", init=False)

    def __enter__(self) -> TritonServer:
        """Start the server; see ``start``."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    def urls(self) -> ServerUrls:
        """Where it listens."""
        config = self.config
        everywhere = "0.0.0.0"  # noqa: S104 - compared, not bound
        host, http_host = (LOOPBACK if each == everywhere else each for each in (config.host, config.http_host))
        return ServerUrls(
            http=f"{http_host}:{config.http_port}",
            grpc=f"{host}:{config.grpc_port}",
            metrics=f"{host}:{config.metrics_port}",
        )

    @property
    def pid(self) -> int:
        """The process id of the running server.

        Raises:
            ServerError: If it was not started.
        """
        if self._process is None:
            raise ServerError("the tritonserver was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def check_ports(self) -> None:
        """Raise if one of the ports is taken.

        Raises:
            ServerError: Naming the port and the option that changes it.
        """
        for option, port in self.config.ports().items():
            host = self.config.http_host if option == "http-port" else self.config.host
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                        raise ServerError(
                            f"--host must be an address of this machine, got {self.config.host} ({error.strerror})"
                        ) from error
                    raise ServerError(
                        f"port {port} on {host} cannot be used ({error.strerror}): stop the server that "
                        f"has it, or choose another with --{option}"
                    ) from error

    def start(self) -> None:
        """Start the server and return when every model is ready.

        The server is stopped when the calling thread ends, however it ends.

        Raises:
            ServerError: If it was started already, no tritonserver is found, a port is taken, or the server dies or
                comes no further for the time that it has; the message holds the server's own error lines.
        """
        if self._process is not None:
            raise ServerError("the tritonserver was started already: stop it first")
        installation = find_tritonserver(self.config.tritonserver)
        if not self.config.model_repository.is_dir():
            raise ServerError(f"model repository {self.config.model_repository} does not exist")
        self.check_ports()
        options = [
            f"--id={self._identity}",
            f"--backend-config=python,shm-region-prefix-name={self._region_prefix()}",
            *self.config.command_options(installation),
        ]
        try:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server runs; stop closes it
            self._process = subprocess.Popen(
                installation.command(options),
                stdout=self._log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**installation.environment(), **self.config.environment},
                start_new_session=True,  # its own group: stubs are stopped with it, Ctrl-C reaches us first
            )
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and its Python processes, and remove the shared memory they used."""
        process = self._process
        try:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self.config.exit_timeout_s + STOP_MARGIN_S)
        finally:  # a second Ctrl-C while waiting too
            if process is not None:
                _kill_group(process)
            for region in SHARED_MEMORY.glob(f"{self._region_prefix()}*"):
                region.unlink(missing_ok=True)
            if self._log is not None:
                self._log.close()
            self._log = self._process = None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Return the exit status when the server ends by itself; None where it lives on after ``timeout_s``.

        Raises:
            ServerError: If it was not started.
        """
        if self._process is None:
            raise ServerError("the tritonserver was not started")
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the server's log."""
        return "\n".join(self._read_log().splitlines()[-lines:])

    def statistics(self, model: str) -> ModelStatistics:
        """Return the counters of a model, all its versions together.

        Raises:
            ServerError: If the server does not answer or does not know the model.
        """
        rows = json.loads(self._read(f"/models/{model}/stats"))["model_stats"]
        return ModelStatistics(
            inferences=sum(row["inference_count"] for row in rows),
            executions=sum(row["execution_count"] for row in rows),
        )

    def _region_prefix(self) -> str:
        return f"{self._identity}_{self.config.http_port}_"

    def _wait_until_ready(self) -> None:
        loading = Loading(self.pid)
        waiting = ["", "/health/ready", *(f"/models/{model}/ready" for model in self.config.load_models)]
        while waiting:
            if self._process is None or self._process.poll() is not None:
                status = self._process.returncode if self._process else None
                raise ServerError(f"tritonserver ended with status {status} while starting:\n{self._error_lines()}")
            if loading.idle_s(self._log_bytes()) > self.config.start_timeout_s:
                raise ServerError(
                    f"tritonserver was not ready, and came no further for {self.config.start_timeout_s:g} s "
                    f"(--start-timeout gives it more):\n{self._error_lines()}"
                )
            if self._answers(waiting[0]):
                waiting.pop(0)
            else:
                time.sleep(POLL_S)

    def _answers(self, path: str) -> bool:
        try:
            answer = self._read(path)
        except ServerError:
            return False
        # Another server may have taken the port since it was found free: only ours knows its name.
        return bool(path) or self._identity.encode() in answer

    def _read(self, path: str) -> bytes:
        """Return what the server answers to a GET of ``/v2`` and a path; no proxy stands between."""
        status, content = exchange(self.urls.http, "GET", f"/v2{path}", {}, timeout_s=REPLY_TIMEOUT_S)
        if status != http.HTTPStatus.OK:
            said = content.decode(errors="replace")
            raise ServerError(f"tritonserver at {self.urls.http} answered {status} to /v2{path}: {said}")
        return content

    def _log_bytes(self) -> int:
        return 0 if self._log is None else os.fstat(self._log.fileno()).st_size

    def _read_log(self) -> str:
        if self._log is None:
            return ""
        descriptor = self._log.fileno()
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)  # the server writes on where it was
        return content.decode("utf-8", errors="replace")

    def _error_lines(self) -> str:
        return "\n".join(f"  {line}" for line in error_lines(self._read_log())[:SHOWN_LINES])


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group of a server: itself, or the stubs of a dead one; return when they are gone."""
    if process.poll() is not None and Path(f"/proc/{process.pid}").exists():
        return  # the number went to another process, so nobody of the group is left
    deadline = time.monotonic() + GONE_TIMEOUT_S
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reap_group(process.pid)  # its orphans, where they come to this process
            time.sleep(0.01)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return different ports that nobody listens on at this moment (another process may take one before you do)."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in sockets]
