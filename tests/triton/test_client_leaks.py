"""A hundred thousand calls leave no threads, sockets or memory behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from trident.server.server import TritonServer
from trident_client import AsyncSearchClient, Behaviour, ClientError, SearchClient

pytestmark = pytest.mark.slow

CALLS = 25_000  # of each form
WARM_UP = 2_000
PARTS = 5  # of the calls; what is held is looked at after each
SIDE_BY_SIDE = 8
BEHAVIOUR = Behaviour(retries=10)  # a machine that does much else is overloaded now and then
GROWTH_MIB = 16  # allowed over all: allocators keep what they had at their busiest
LEAK_BYTES = 200  # a call, allowed over the later parts: less than one request or answer that is kept


@dataclass(frozen=True)
class Held:
    """What this process holds."""

    threads: int
    files: int
    memory_mib: float


def held() -> Held:
    gc.collect()
    memory = psutil.Process().memory_info().rss / 2**20
    return Held(threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), memory)


def check(seen: list[Held]) -> None:
    """Raise unless what is held stays: ``seen`` is after the warm-up, then after each part."""
    sys.stderr.write("\n".join(map(str, ["", *seen, ""])))
    before, *after = seen
    assert len(after) == PARTS
    assert all(each.threads <= before.threads for each in after), seen
    assert all(each.files <= before.files + 2 for each in after), seen
    assert after[-1].memory_mib <= before.memory_mib + GROWTH_MIB, seen
    a_call = (after[-1].memory_mib - after[1].memory_mib) * 2**20 / (CALLS * (PARTS - 2) / PARTS)
    assert a_call <= LEAK_BYTES, seen


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_threads(tiny_server: TritonServer, protocol: str) -> None:
    url = f"{protocol}://{getattr(tiny_server.urls, protocol)}"
    with SearchClient(url, timeout_s=60, behaviour=BEHAVIOUR) as client, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:

        def ask(number: int) -> None:
            try:
                client.search("" if number % 50 == 0 else f"navy sofa {number % 7}", k=1)  # some are refused
            except ClientError:
                assert number % 50 == 0

        for _ in pool.map(ask, range(WARM_UP)):
            pass
        seen = [held()]
        for _ in range(PARTS):
            for _ in pool.map(ask, range(CALLS // PARTS)):
                pass
            seen.append(held())
        check(seen)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_tasks(tiny_server: TritonServer, protocol: str) -> None:
    async def ask_all() -> None:
        url = f"{protocol}://{getattr(tiny_server.urls, protocol)}"
        async with AsyncSearchClient(url, timeout_s=60, behaviour=BEHAVIOUR) as client:

            async def ask(numbers: range) -> None:
                for number in numbers:
                    try:
                        await client.search("" if number % 50 == 0 else f"navy sofa {number % 7}", k=1)
                    except ClientError:
                        assert number % 50 == 0

            async def calls(count: int) -> None:
                await asyncio.gather(*(ask(range(first, count, SIDE_BY_SIDE)) for first in range(SIDE_BY_SIDE)))

            await calls(WARM_UP)
            seen = [held()]
            for _ in range(PARTS):
                await calls(CALLS // PARTS)
                seen.append(held())
            check(seen)

    asyncio.run(ask_all())
