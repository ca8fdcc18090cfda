"""Which batches are answered: nobody waits longer than the limit, and whoever comes to an idle model is answered."""

from __future__ import annotations

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


def run(admission: Admission, clock: Clock, rows: int, seconds: float) -> bool:
    """Have a batch come; if it is answered that takes some seconds."""
    admitted = admission.admits(rows)
    clock.now += seconds if admitted else 0.0
    admission.ended()
    return admitted


def test_batches_with_room_left_are_answered_for_ever(admission: Admission, clock: Clock) -> None:
    assert all(run(admission, clock, FULL - 1, 0.4) for _ in range(100))


def test_full_batches_are_answered_until_somebody_may_have_waited_too_long(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, 1, 0.4)
    assert [run(admission, clock, FULL, 0.4) for _ in range(5)] == [True, True, False, False, False]
    assert not run(admission, clock, 3, 0.4)  # the last who waited with them
    assert run(admission, clock, FULL, 0.4)  # whoever came since did not


def test_a_burst_on_an_idle_model_is_answered(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, 1, 0.4)
    clock.now += 3600
    assert run(admission, clock, FULL, 0.4)
    assert run(admission, clock, FULL, 0.4)


def test_a_short_pause_is_no_idleness(admission: Admission, clock: Clock) -> None:
    assert run(admission, clock, FULL, 0.7)
    clock.now += 0.4  # answers leave, the next requests come
    assert not run(admission, clock, FULL, 0.7)
    clock.now += 0.6
    assert run(admission, clock, FULL, 0.7)


def test_the_wait_is_kept_whatever_comes(admission: Admission, clock: Clock) -> None:
    """Twice what can be answered comes: half of it is answered, and none of that waited for longer than the limit."""
    per_s, waiting, answered, arrived = 50.0, [], [], 0
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
        if run(admission, clock, len(batch), len(batch) / 25):
            answered += [came_to_turn - came for came in batch]
    assert max(answered) <= 1.0 + 1e-6
    assert 0.9 <= len(answered) / (60 * 25) <= 1.0


def test_the_reason_names_the_limit(admission: Admission) -> None:
    assert admission.reason.startswith("the server is overloaded: requests must not wait longer than 1 s")
