"""Which requests are answered: nobody waits longer than the limit, and whoever comes to an idle model is answered."""

from __future__ import annotations

import numpy as np
import pytest

from trident.search.admission import SHORT_SHARE, Admission

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
    assert run(admission, clock, FULL, 0.04) == 10  # 25 rows a second; 0.6 s are left
    assert run(admission, clock, FULL, 0.04) == 10
    assert run(admission, clock, FULL, 0.041) == 1  # 5 would be in time, but batches are short from here on
    clock.now += 0.1
    assert [run(admission, clock, FULL, 0.04) for _ in range(3)] == [1, 1, 0]
    assert run(admission, clock, 3, 0.04) == 0  # the last who waited with them
    assert run(admission, clock, FULL, 0.04) == 1  # whoever came since did not


def test_a_batch_with_room_left_is_cut_at_the_limit_too(clock: Clock) -> None:
    admission = Admission(full_rows=1000, max_wait_s=1.0, clock=clock)
    assert run(admission, clock, 64, 0.01) == 64  # 100 rows a second
    assert run(admission, clock, 36, 0.01) == 36  # they may have waited for 0.64 s
    assert run(admission, clock, 65, 0.01) == 2  # one too many: a fortieth of a second from here on


def test_batches_are_short_for_a_while_only(clock: Clock) -> None:
    """Clients that ask again as soon as they are rejected may be as many as can be answered."""
    admission = Admission(full_rows=1000, max_wait_s=1.0, clock=clock)
    assert run(admission, clock, 64, 0.01) == 64
    begun, sizes = clock.now, []
    while clock.now < begun + 12:
        sizes.append((clock.now - begun, run(admission, clock, 40, 0.01)))
    assert {size for since, size in sizes if since < 9.8} == {2}
    assert {size for since, size in sizes if since > 10.1} == {40}


def test_batches_are_short_until_few_are_rejected(clock: Clock) -> None:
    admission = Admission(full_rows=1000, max_wait_s=1.0, clock=clock)
    assert run(admission, clock, 64, 0.01) == 64
    assert run(admission, clock, 40, 0.01) == 2
    begun = clock.now
    while clock.now <= begun + 2:  # the second of the overload, and another
        assert run(admission, clock, 2, 0.01) == 2
    assert run(admission, clock, 40, 0.01) == 40


def test_requests_of_several_rows_are_taken_whole(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, FULL, 0.0025) == 10  # 400 rows a second
    clock.now += 0.475
    assert admission.admits([1, 1, 3, 1, 4]) == 5
    clock.now += 0.475
    admission.ended()
    assert admission.admits([1, 1, 3, 1, 4]) == 4  # 286 rows a second by now, and 0.025 s left: 7.2 in time
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


def test_whoever_asks_alone_is_answered_however_long_that_takes(admission: Admission, clock: Clock) -> None:
    for _ in range(3):
        assert run(admission, clock, 1, 3.0) == 1  # the next one comes with the answer: it did not wait
    assert run(admission, clock, 2, 3.0) == 0  # one of the two may have


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


@pytest.mark.parametrize("full", [200, 2000])
@pytest.mark.parametrize("times", [1.1, 2.0, 8.0])
def test_the_wait_is_kept_whatever_comes(clock: Clock, times: float, full: int) -> None:
    """More comes than can be answered: as much as can be is answered, none of it late, and the rest is told at once."""
    pace, waiting, answered, rejected, arrived = 1000.0, [], [], [], 0
    admission = Admission(full_rows=full, max_wait_s=1.0, clock=clock)
    started = clock.now
    while clock.now < started + 20:
        while started + arrived / (times * pace) <= clock.now:
            waiting.append(started + arrived / (times * pace))
            arrived += 1
        if not waiting:
            clock.now = started + arrived / (times * pace)
            continue
        batch, waiting = waiting[:full], waiting[full:]
        came_to_turn = clock.now
        admitted = run(admission, clock, len(batch), 1 / pace)
        answered += [clock.now - came for came in batch[:admitted]]
        rejected += [came_to_turn - came for came in batch[admitted:]]
    assert max(answered) <= 1.0 + 1 / pace  # one request is taken while there is time
    assert 0.9 <= len(answered) / ((clock.now - started) * pace) <= 1.0
    at_once = times * pace * SHORT_SHARE < full  # all who come during a batch are seen after it
    assert np.median(rejected) <= (0.05 if at_once else 1.0)


def test_the_reason_names_the_limit(admission: Admission) -> None:
    assert admission.reason.startswith("the server is overloaded: requests must not wait longer than 1 s")
