"""Health that means "the answers are right": two addresses beside the search server, for load balancers and Kubernetes.

    GET /live     200 while ``trident serve`` lives and keeps checking
    GET /ready    200 when the last golden check passed and is recent, else 503

Both answer JSON that says why. A server that listens but answers wrongly, or does not answer, is not ready.

    with HealthServer(host, health_port, check=lambda: check_golden(...)):
        status = server.wait()
"""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Protocol

from trident.errors import ConfigError, ServerError, TridentError

PERIOD_S = 30.0
RETRY_S = 5.0  # after a check that failed
MISSED_CHECKS = 3  # periods without a result after which the last one no longer counts
CLIENT_TIMEOUT_S = 5.0  # for a request that dawdles
STOP_TIMEOUT_S = 5.0  # for a check under way
SHOWN_DIFFERENCES = 5


class Checked(Protocol):
    """What a golden check finds; ``trident.probe.golden_check.GoldenReport`` is one."""

    @property
    def generation(self) -> str:
        """The generation that answered."""

    @property
    def asked(self) -> int:
        """How many golden queries were asked."""

    @property
    def differences(self) -> tuple[str, ...]:
        """A line for each query that was answered otherwise than stored."""

    @property
    def passed(self) -> bool:
        """Whether all answers were right."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What ``/ready`` answers, as JSON."""

    ready: bool
    reasons: tuple[str, ...]  # why it is not ready
    generation: str | None  # of the last check; None when it found nobody, or there was none yet
    asked: int
    age_s: float | None  # since the last check ended


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """How one check ended."""

    ended_s: float  # on the monotonic clock
    report: Checked | None
    error: str  # why there is no report

    @property
    def passed(self) -> bool:
        return self.report is not None and self.report.passed


class HealthServer:
    """Asks the golden queries over and over, and says what came of it over HTTP; use it as a context manager.

    Args:
        host: Where to listen.
        port: Where to listen; 0 takes a free one.
        check: Asks the golden queries of the running server; raises a ``TridentError`` when it cannot.
        period_s: From one check to the next.
        faults: Returns why the server is not ready whatever a check says, a line each; none when it may be.

    Raises:
        ConfigError: If the period is not positive or the port out of range.
    """

    def __init__(
        self,
        host: str,
        port: int,
        check: Callable[[], Checked],
        *,
        period_s: float = PERIOD_S,
        faults: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Keep the arguments; nothing listens yet."""
        if not period_s > 0:
            raise ConfigError(f"the period of health checks must be > 0 seconds, got {period_s:g}")
        if not 0 <= port <= 65535:
            raise ConfigError(f"--health-port must be 1 to 65535, got {port}")
        self._place = (host, port)
        self._check = check
        self._period_s = period_s
        self._faults = faults
        self._last: _Outcome | None = None
        self._stopping = threading.Event()
        self._checking = threading.Thread(target=self._check_on, name="golden-check", daemon=True)
        self._http: _Http | None = None

    def __enter__(self) -> HealthServer:
        """Listen, and start checking.

        Raises:
            ServerError: If the port is taken.
        """
        host, port = self._place
        try:
            self._http = _Http(self)
        except OSError as error:
            raise ServerError(
                f"port {port} on {host} cannot be used ({error.strerror}): choose another with --health-port"
            ) from error
        threading.Thread(target=self._http.serve_forever, name="health", daemon=True).start()
        self._checking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; a check under way gets a few seconds to end."""
        self._stopping.set()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        self._checking.join(STOP_TIMEOUT_S)

    @property
    def address(self) -> str:
        """``host:port`` where it listens."""
        host, port = self._place if self._http is None else self._http.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def place(self) -> tuple[str, int]:
        """Host and port as they were asked for."""
        return self._place

    @property
    def is_live(self) -> bool:
        """Whether checks go on."""
        return self._checking.is_alive()

    def health(self) -> Health:
        """Return whether the server behind it is ready, and why not."""
        last, reasons = self._last, [*self._faults()]
        if last is None:
            reasons.append("no golden check has ended yet")
            return Health(ready=False, reasons=tuple(reasons), generation=None, asked=0, age_s=None)
        age_s = time.monotonic() - last.ended_s
        if last.report is None:
            reasons.append(last.error)
        elif not last.passed:
            count = len(last.report.differences)
            reasons.append(f"{count} of {last.report.asked} golden queries are answered otherwise than at the export")
            reasons += last.report.differences[:SHOWN_DIFFERENCES]
        if age_s > MISSED_CHECKS * self._period_s:
            reasons.append(f"the last golden check is {age_s:.0f} s old, one is due every {self._period_s:g} s")
        return Health(
            ready=not reasons,
            reasons=tuple(reasons),
            generation=last.report.generation if last.report else None,
            asked=last.report.asked if last.report else 0,
            age_s=round(age_s, 3),
        )

    def _check_on(self) -> None:
        while not self._stopping.is_set():
            report, error = None, ""
            try:
                report = self._check()
            except TridentError as caught:
                error = str(caught)
            except (ValueError, LookupError) as caught:  # an answer that nobody foresaw is no reason to stop asking
                error = f"the golden check failed: {caught!r}"
            self._last = _Outcome(ended_s=time.monotonic(), report=report, error=error)
            self._stopping.wait(self._period_s if self._last.passed else min(self._period_s, RETRY_S))


class _Http(http.server.ThreadingHTTPServer):
    """Listens for a ``HealthServer``."""

    daemon_threads = True

    def __init__(self, owner: HealthServer) -> None:
        self.owner = owner
        super().__init__(owner.place, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers ``/live`` and ``/ready``, and nothing else."""

    server: _Http
    timeout = CLIENT_TIMEOUT_S
    server_version = "trident"
    sys_version = ""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/live":
                live = self.server.owner.is_live
                self._answer(HTTPStatus.OK if live else HTTPStatus.SERVICE_UNAVAILABLE, {"live": live})
            case "/ready":
                health = self.server.owner.health()
                self._answer(HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE, asdict(health))
            case _:
                self._answer(HTTPStatus.NOT_FOUND, {"error": "ask for /live or /ready"})

    def _answer(self, status: HTTPStatus, document: dict[str, object]) -> None:
        content = json.dumps(document, ensure_ascii=False).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
        """Say nothing: probes come every few seconds."""
