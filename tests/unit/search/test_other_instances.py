"""Whether the others are busy, told by locks: instances in this process and in one that is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from trident.search.other_instances import QUIET_S, REST_S, Gathering, OtherInstances

HOLDER = """
import sys, time
from pathlib import Path
from trident.search.other_instances import OtherInstances
with OtherInstances(Path(sys.argv[1])).answering() as alone:
    print(alone, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def now() -> list[float]:
    """Return what the clock says, in seconds."""
    return [0.0]


@pytest.fixture
def instance(file: Path, now: list[float]) -> Iterator[Callable[[], OtherInstances]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(OtherInstances(file, clock=lambda: now[0])))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.pbtxt"
    path.write_text("content")
    path.chmod(0o400)
    return path


def test_an_instance_is_alone_when_the_others_have_been_quiet_for_a_while(
    instance: Callable[[], OtherInstances], now: list[float]
) -> None:
    first, second, third = instance(), instance(), instance()
    for _ in range(3):  # its own last answer does not matter
        with first.answering() as alone:
            assert alone
    with first.answering(), second.answering() as alone, third.answering() as third_alone:
        assert not alone
        assert not third_alone
    with first.answering() as alone:  # it has not met them
        assert alone
    with second.answering() as alone:
        assert not alone
    now[0] += QUIET_S
    with second.answering() as alone:
        assert alone


def test_an_error_ends_what_an_instance_holds(instance: Callable[[], OtherInstances]) -> None:
    with pytest.raises(ValueError, match="bad"), instance().answering():
        raise ValueError("bad")
    with instance().answering() as alone:
        assert alone


def test_a_process_that_is_killed_counts_as_quiet(instance: Callable[[], OtherInstances], file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with instance().answering() as alone:
            assert not alone
        other.kill()
    with instance().answering() as alone:
        assert alone


def test_an_instance_rests_after_batches_that_are_small_beside_the_others() -> None:
    rests: list[float] = []
    gathering = Gathering(sleep=rests.append)

    def rests_after(sizes: list[int]) -> int:
        rests.clear()
        for size in sizes:
            gathering.answered(size)
        assert set(rests) <= {REST_S}
        return len(rests)

    assert rests_after([3] * 50) == 0
    assert rests_after([12] * 50) == 0
    assert rests_after([7, 12, 8, 12]) == 0
    assert rests_after([2, 20, 1, 20]) == 2
    assert rests_after([1] * 50) < 25  # where all are small from now on
