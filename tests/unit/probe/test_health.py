"""The health server: ready only while golden checks pass and are recent."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from trident.errors import ConfigError, ServerError
from trident.probe.health import HealthServer

PERIOD_S = 0.05


@dataclass(frozen=True)
class Report:
    """A golden report, as ``trident.probe.golden_check`` gives it."""

    generation: str
    asked: int
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


RIGHT = Report("51e4408bbb1ea5fe", 3, ())
WRONG = Report("51e4408bbb1ea5fe", 3, ("'sofa': place 1 must be product 0004, got 0007",))


def ask(health: HealthServer, path: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(health.address, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_follows_the_golden_checks() -> None:
    outcomes: list[Report | Exception] = [RIGHT]

    def check() -> Report:
        if isinstance(outcomes[-1], Exception):
            raise outcomes[-1]
        return outcomes[-1]

    with HealthServer("127.0.0.1", 0, check, period_s=PERIOD_S) as health:
        wait_until(lambda: ask(health, "/ready")[0] == 200)
        status, answer = ask(health, "/ready")
        assert (status, answer["ready"], answer["reasons"]) == (200, True, [])
        assert (answer["generation"], answer["asked"]) == ("51e4408bbb1ea5fe", 3)
        outcomes.append(WRONG)
        wait_until(lambda: ask(health, "/ready")[0] == 503)
        assert ask(health, "/ready")[1]["reasons"] == [
            "1 of 3 golden queries are answered otherwise than at the export",
            "'sofa': place 1 must be product 0004, got 0007",
        ]
        outcomes.append(ServerError("no server answers"))
        wait_until(lambda: ask(health, "/ready")[1]["reasons"] == ["no server answers"])
        assert ask(health, "/ready")[0] == 503
        assert ask(health, "/live") == (200, {"live": True})
        outcomes.append(RIGHT)
        wait_until(lambda: ask(health, "/ready")[0] == 200)
        assert ask(health, "/secret") == (404, {"error": "ask for /live or /ready"})
    with pytest.raises(ConnectionRefusedError):
        ask(health, "/live")


def test_a_fault_counts_whatever_the_checks_say() -> None:
    faults: list[str] = ["a process of version 7 of model 'pipeline' died 1 s ago"]
    with HealthServer("127.0.0.1", 0, lambda: RIGHT, period_s=PERIOD_S, faults=lambda: faults) as health:
        wait_until(lambda: ask(health, "/ready")[1]["asked"] == 3)
        status, answer = ask(health, "/ready")
        assert (status, answer["ready"], answer["reasons"]) == (503, False, faults)
        faults.clear()
        assert ask(health, "/ready")[0] == 200
        assert ask(health, "/live")[0] == 200


def test_it_is_not_ready_before_the_first_check_nor_when_one_hangs() -> None:
    going_on, calls = threading.Semaphore(0), []

    def check() -> Report:
        going_on.acquire()
        calls.append(time.monotonic())
        return RIGHT

    with HealthServer("127.0.0.1", 0, check, period_s=PERIOD_S) as health:
        status, answer = ask(health, "/ready")
        assert (status, answer["reasons"]) == (503, ["no golden check has ended yet"])
        going_on.release()
        wait_until(lambda: ask(health, "/ready")[0] == 200)
        wait_until(lambda: ask(health, "/ready")[0] == 503)  # the second check hangs
        assert str(ask(health, "/ready")[1]["reasons"]).endswith("s old, one is due every 0.05 s']")
        assert ask(health, "/live")[0] == 200
        going_on.release(1000)
        wait_until(lambda: ask(health, "/ready")[0] == 200)
    assert len(calls) > 1


@pytest.mark.parametrize("error", [KeyError("outputs"), IndexError("row 0"), ValueError("no number")])
def test_an_answer_that_nobody_foresaw_is_said_and_asked_for_again(error: Exception) -> None:
    failures = [error]

    def check() -> Report:
        if failures:
            raise failures[0]
        return RIGHT

    with HealthServer("127.0.0.1", 0, check, period_s=PERIOD_S) as health:
        wait_until(lambda: ask(health, "/ready")[1]["reasons"] == [f"the golden check failed: {error!r}"])
        assert ask(health, "/live")[0] == 200
        failures.clear()
        wait_until(lambda: ask(health, "/ready")[0] == 200)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_is_not_live_when_the_checks_ended() -> None:
    def check() -> Report:
        raise AttributeError("a bug")

    with HealthServer("127.0.0.1", 0, check, period_s=PERIOD_S) as health:
        wait_until(lambda: ask(health, "/live") == (503, {"live": False}))
        assert ask(health, "/ready")[0] == 503


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="period of health checks must be > 0 seconds, got 0"):
        HealthServer("127.0.0.1", 0, lambda: RIGHT, period_s=0)
    with pytest.raises(ConfigError, match="--health-port must be 1 to 65535, got 70000"):
        HealthServer("127.0.0.1", 70000, lambda: RIGHT)
    with HealthServer("127.0.0.1", 0, lambda: RIGHT) as health:
        port = int(health.address.rpartition(":")[2])
        with (
            pytest.raises(ServerError, match=f"port {port} on 127.0.0.1 cannot be used .Address already in use.*: "),
            HealthServer("127.0.0.1", port, lambda: RIGHT),
        ):
            pass
