"""A thousand queries at once, 32 on their way at any time: ``python examples/fan_out.py 127.0.0.1:8001``."""

import asyncio
import sys
import time

from trident_client import AsyncSearchClient, Behaviour

QUERIES = [
    f"{colour} {thing} {number}" for colour in ("red", "blue") for thing in ("lamp", "sofa") for number in range(250)
]


async def main(url: str) -> None:
    """Ask all of them, and say how long it took."""
    places = asyncio.Semaphore(32)
    async with AsyncSearchClient(url, timeout_s=60, behaviour=Behaviour(retries=5)) as client:

        async def ask(query: str) -> str:
            async with places:
                return (await client.search(query, k=1)).hits[0].title

        start = time.perf_counter()
        titles = await asyncio.gather(*map(ask, QUERIES))
    print(f"{len(titles)} answers in {time.perf_counter() - start:.1f} s; {QUERIES[0]!r} finds {titles[0]!r}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8001"))
