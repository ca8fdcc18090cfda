"""Which requests are answered: nobody waits longer than the limit, and whoever comes to an idle model is answered."""

from __future__ import annotations

import numpy as np
import pytest

from trident.admission import Admission

FULL = 10


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> Admission:
    return Admission(full_rows=FULL, max_wait_s=1.0, clock=clock)


def run(admission: Admission, clock: Clock, rows: int, row_s: float) -> int:
    """Have a batch of one-row requests come; return how many were answered, each for some seconds."""
    admitted = admission.admits([1] * rows)
    clock.now += row_s * admitted
    admission.ended()
    return admitted


def test_batches_with_room_left_are_answered_for_ever(admission: Admission, clock: Clock) -> None:
    assert [run(admission, clock, FULL - 1, 0.04) for _ in range(100)] == [FULL - 1] * 100


def test_full_batches_are_answered_as_far_as_the_limit_allows(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, 1, 0.4) == 1
    assert run(admission, clock, FULL, 0.04) == 10  # 25 rows a second; 0.8 s since somebody may wait
    assert run(admission, clock, FULL, 0.041) == 5  # 0.2 s were left
    assert [run(admission, clock, FULL, 0.04) for _ in range(3)] == [0, 0, 0]
    assert run(admission, clock, 3, 0.04) == 0  # the last who waited with them
    assert run(admission, clock, FULL, 0.04) == 10  # whoever came since did not


def test_requests_of_several_rows_are_taken_whole(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, FULL, 0.08) == 10  # 12.5 rows a second; 0.8 s are over
    clock.now += 0.04  # 2 rows are left
    assert admission.admits([1, 1, 3, 1, 4]) == 2
    admission.ended()


def test_one_request_is_taken_while_there_is_time(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, FULL, 0.08) == 10
    assert admission.admits([8, 8]) == 1  # 2.5 rows are left
    admission.ended()


def test_small_batches_say_nothing_of_the_pace(admission: Admission, clock: Clock) -> None:
    for _ in range(20):
        assert run(admission, clock, 1, 0.4) == 1  # 2.5 rows a second
    assert run(admission, clock, FULL, 0.01) == 10
    assert run(admission, clock, FULL, 0.01) == 10


def test_a_burst_on_an_idle_model_is_answered(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, 1, 0.4) == 1
    clock.now += 3600
    assert run(admission, clock, FULL, 0.04) == 10
    assert run(admission, clock, FULL, 0.04) == 10


def test_a_short_pause_is_no_idleness(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, FULL, 0.07) == 10
    clock.now += 0.4  # answers leave, the next requests come
    assert run(admission, clock, FULL, 0.07) == 0
    clock.now += 0.6
    assert run(admission, clock, FULL, 0.07) == 10


def test_the_wait_is_kept_whatever_comes(admission: Admission, clock: Clock) -> None:
    """Twice what can be answered comes: half of it is answered, and none of that waited for longer than the limit."""
    per_s, waiting, answered, rejected, arrived = 50.0, [], [], [], 0
    started = clock.now
    while clock.now < started + 60:
        while started + arrived / per_s <= clock.now:
            waiting.append(started + arrived / per_s)
            arrived += 1
        if not waiting:
            clock.now = started + arrived / per_s
            continue
        batch, waiting = waiting[:FULL], waiting[FULL:]
        came_to_turn = clock.now
        admitted = run(admission, clock, len(batch), 1 / 25)
        answered += [came_to_turn - came for came in batch[:admitted]]
        rejected += [came_to_turn - came for came in batch[admitted:]]
    assert max(answered) <= 1.0 + 1e-6
    assert np.median(rejected) <= 0.9
    assert 0.9 <= len(answered) / (60 * 25) <= 1.0


def test_the_reason_names_the_limit(admission: Admission) -> None:
    assert admission.reason.startswith("the server is overloaded: requests must not wait longer than 1 s")
