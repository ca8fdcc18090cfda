"""Stages are timed where somebody asks: each its own time, the rest named as such."""

from __future__ import annotations

import itertools
import threading

import pytest

from trident.stage_times import REST, StageTimes, measured, stage


def ticking() -> StageTimes:
    """Return times by a clock that goes a second further whenever it is looked at."""
    return StageTimes(clock=itertools.count(0.0, 1.0).__next__)


def test_a_stage_inside_another_is_not_counted_twice() -> None:
    times = ticking()  # at 0
    with times.stage("fuse"):  # 1
        with times.stage("lexical"):  # 2
            pass  # 3
        with times.stage("dense"):  # 4
            pass  # 5
    # 6, and 7 at the end
    assert times.milliseconds() == {"fuse": 3000.0, "lexical": 1000.0, "dense": 1000.0, REST: 2000.0}


def test_a_stage_that_comes_again_adds_up_and_the_sum_is_all_the_time() -> None:
    times = ticking()
    for _ in range(3):
        with times.stage("dense"), times.stage("dense"):
            pass
    told = times.milliseconds()
    assert told == {"dense": 9000.0, REST: 4000.0}
    assert sum(told.values()) == 13_000.0


def test_a_stage_that_fails_is_ended() -> None:
    times = ticking()
    with pytest.raises(ValueError, match="no"), times.stage("dense"):
        raise ValueError("no")
    assert times.milliseconds() == {"dense": 1000.0, REST: 2000.0}


def test_nobody_asks_nothing_is_measured() -> None:
    with measured(is_asked=False) as times, stage("dense"):
        assert times is None
    with stage("dense"):  # outside of any batch
        pass


def test_stages_belong_to_the_batch_of_their_thread() -> None:
    with measured(is_asked=True) as times:
        assert times is not None
        with stage("encode"):
            other = threading.Thread(target=lambda: stage("dense").__enter__())
            other.start()
            other.join()
        with measured(is_asked=True) as inner, stage("rerank"):
            pass
        assert inner is not None
        assert list(inner.milliseconds()) == ["rerank", REST]
        assert list(times.milliseconds()) == ["encode", REST]
    with stage("dense"):
        pass
    assert list(times.milliseconds()) == ["encode", REST]
