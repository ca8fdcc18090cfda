"""Runs a tritonserver: starts it, waits until it is ready, says why when it does not, stops it without a trace."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from trident.errors import ConfigError, ServerError
from trident.tritonserver import TritonInstallation, find_tritonserver

POLL_S = 0.1
STOP_MARGIN_S = 5.0
SHOWN_LINES = 8
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
ERROR_LINE = re.compile(r"^E\d{4} [\d:.]+ \d+ [\w./]+:\d+\] (?P<text>.*)$")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What to serve and where to listen.

    Raises:
        ConfigError: If a port is out of range or used twice, or a time is not positive.
    """

    model_repository: Path
    load_models: tuple[str, ...]  # loaded at the start, with what they need; others only when asked for
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    model_config_name: str | None = None  # NAME picks configs/NAME.pbtxt of each model that has one
    cache_size_bytes: int | None = None  # of the response cache; None: no cache
    start_timeout_s: float = 120.0
    exit_timeout_s: int = 5  # how long requests under way may take when stopping
    tritonserver: Path | None = None  # the program; None: find it
    options: tuple[str, ...] = ()  # further options, as tritonserver takes them

    def __post_init__(self) -> None:
        """Check ports and times."""
        ports = self.ports()
        for option, port in ports.items():
            if not 1 <= port <= 65535:
                raise ConfigError(f"--{option} must be 1 to 65535, got {port}")
        if len(set(ports.values())) < len(ports):
            shown = ", ".join(f"--{option} {port}" for option, port in ports.items())
            raise ConfigError(f"the three ports must differ, got {shown}")
        if self.start_timeout_s <= 0 or self.exit_timeout_s <= 0:
            raise ConfigError(
                f"start_timeout_s and exit_timeout_s must be > 0, got {self.start_timeout_s} and {self.exit_timeout_s}"
            )
        if self.cache_size_bytes is not None and self.cache_size_bytes < 1:
            raise ConfigError(f"cache_size_bytes must be >= 1, got {self.cache_size_bytes}")

    def ports(self) -> dict[str, int]:
        """Return the ports by the name of their option."""
        return {"http-port": self.http_port, "grpc-port": self.grpc_port, "metrics-port": self.metrics_port}


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
    _log: Path | None = field(default=None, init=False)

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
        host = "127.0.0.1" if config.host == "0.0.0.0" else config.host  # noqa: S104 - compared, not bound
        return ServerUrls(
            http=f"{host}:{config.http_port}",
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
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.config.host, port))
                except OSError as error:
                    raise ServerError(
                        f"port {port} on {self.config.host} cannot be used ({os.strerror(error.errno or 0)}): stop the "
                        f"server that has it, or choose another with --{option}"
                    ) from error

    def start(self) -> None:
        """Start the server and return when every model is ready.

        Raises:
            ServerError: If no tritonserver is found, a port is taken, or the server dies or is not ready in time; the
                message holds the server's own error lines.
        """
        installation = find_tritonserver(self.config.tritonserver)
        self.check_ports()
        descriptor, name = tempfile.mkstemp(prefix="tritonserver-", suffix=".log")
        self._log = Path(name)
        with open(descriptor, "wb") as log:  # noqa: PTH123 - a descriptor, not a path
            self._process = subprocess.Popen(
                self._command(installation),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=installation.environment(),
                start_new_session=True,  # its own group: stubs are stopped with it, Ctrl-C reaches us first
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and its Python processes, and remove the shared memory they used."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.config.exit_timeout_s + STOP_MARGIN_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what is left of the group: stubs of a dead server
        process.wait()
        for region in SHARED_MEMORY.glob(f"{self._region_prefix()}*"):
            region.unlink(missing_ok=True)
        if self._log is not None:
            self._log.unlink(missing_ok=True)
        self._process = None

    def wait(self) -> int:
        """Return the exit status when the server ends by itself."""
        if self._process is None:
            raise ServerError("the tritonserver was not started")
        return self._process.wait()

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the server's log."""
        return "\n".join(self._log_lines()[-lines:])

    def statistics(self, model: str) -> ModelStatistics:
        """Return the counters of a model, all its versions together.

        Raises:
            ServerError: If the server does not answer or does not know the model.
        """
        try:
            with urllib.request.urlopen(f"http://{self.urls.http}/v2/models/{model}/stats", timeout=10) as answer:
                rows = json.load(answer)["model_stats"]
        except (urllib.error.URLError, OSError) as error:
            raise ServerError(f"no statistics of model '{model}' from {self.urls.http}: {error}") from error
        return ModelStatistics(
            inferences=sum(row["inference_count"] for row in rows),
            executions=sum(row["execution_count"] for row in rows),
        )

    def _command(self, installation: TritonInstallation) -> list[str]:
        config = self.config
        command = [
            str(installation.executable),
            f"--model-repository={config.model_repository.resolve()}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in config.load_models),
            f"--backend-directory={installation.backends}",
            f"--backend-config=python,shm-region-prefix-name={self._region_prefix()}",
            f"--http-address={config.host}",
            f"--http-port={config.http_port}",
            f"--grpc-address={config.host}",
            f"--grpc-port={config.grpc_port}",
            f"--metrics-address={config.host}",
            f"--metrics-port={config.metrics_port}",
            f"--exit-timeout-secs={config.exit_timeout_s}",
            "--disable-auto-complete-config",
            "--log-verbose=0",
        ]
        if config.model_config_name is not None:
            command.append(f"--model-config-name={config.model_config_name}")
        if config.cache_size_bytes is not None:
            command += [
                f"--cache-directory={installation.caches}",
                f"--cache-config=local,size={config.cache_size_bytes}",
            ]
        return [*command, *config.options]

    def _region_prefix(self) -> str:
        return f"trident_{os.getpid()}_{self.config.http_port}_"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.config.start_timeout_s
        waiting = ["health/ready", *(f"models/{model}/ready" for model in self.config.load_models)]
        while waiting:
            if not self.is_running:
                status = self._process.returncode if self._process else None
                raise ServerError(f"tritonserver ended with status {status} while starting:\n{self._error_lines()}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"tritonserver was not ready within {self.config.start_timeout_s:g} s:\n{self._error_lines()}"
                )
            if self._answers(waiting[0]):
                waiting.pop(0)
            else:
                time.sleep(POLL_S)

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.urls.http}/v2/{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _log_lines(self) -> list[str]:
        if self._log is None or not self._log.exists():
            return []
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()

    def _error_lines(self) -> str:
        """Return the server's own error lines, each once, or the end of its log when it wrote none."""
        lines = self._log_lines()
        errors = [match.group("text").strip('"') for line in lines if (match := ERROR_LINE.match(line))]
        shown = list(dict.fromkeys(errors))[:SHOWN_LINES] or lines[-SHOWN_LINES:]
        return "\n".join(f"  {line}" for line in shown)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return different ports that nobody listens on at this moment (another process may take one before you do)."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in sockets]
