"""A request's deadline: a parameter that says until when its client waits."""

from __future__ import annotations

import json
import time

import pytest

from trident.errors import DataError, DeadlineError, ModelError, OverloadError, VectorIndexError
from trident.search.adapters import reason_of
from trident.search.deadline import check_deadline

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "{}",
        '{"other": "1"}',
        '{"deadline_unix_ms": 1800000000001}',
        '{"deadline_unix_ms": 1800000060000.5, "x": 1}',
    ],
)
def test_requests_that_somebody_waits_for(parameters: str) -> None:
    check_deadline(parameters, now_s=NOW_S)


@pytest.mark.parametrize(("late_ms", "shown"), [(0, "0.000"), (250, "0.250"), (3_600_000, "3600.000")])
def test_requests_that_nobody_waits_for(late_ms: int, shown: str) -> None:
    parameters = json.dumps({"deadline_unix_ms": int(NOW_S * 1000) - late_ms})
    message = rf"^DEADLINE_EXCEEDED: the request's deadline_unix_ms had passed {shown} s before it was taken, by the "
    with pytest.raises(DeadlineError, match=message):
        check_deadline(parameters, now_s=NOW_S)


def test_the_clock_is_that_of_the_day() -> None:
    check_deadline(json.dumps({"deadline_unix_ms": int(time.time() * 1000) + 60_000}))
    with pytest.raises(DeadlineError):
        check_deadline(json.dumps({"deadline_unix_ms": int(time.time() * 1000) - 1}))


@pytest.mark.parametrize("value", ["tomorrow", True, None, [1]])
def test_a_deadline_that_is_no_time(value: object) -> None:
    with pytest.raises(DataError, match=r"^deadline_unix_ms must be milliseconds since 1970, got "):
        check_deadline(json.dumps({"deadline_unix_ms": value}))


def test_failures_are_told_apart_by_cause() -> None:
    errors = [DataError(""), VectorIndexError(""), OverloadError(""), DeadlineError(""), ModelError("")]
    assert [reason_of(error) for error in errors] == ["invalid", "invalid", "overloaded", "expired", "internal"]
