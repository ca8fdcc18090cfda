"""What the client adds to raw calls of tritonclient: the same searches in turns against one server.

    trident serve --generations demo-output/generations &
    python bench/client_latency.py --rounds 400

Prints for each way p50 of the time and the mean of this process's own work (CPU) in milliseconds, and what the client's
work adds to the time of a raw call of the same protocol and kind: one that blocks, or one of asyncio, by tritonclient's
``aio``. Turns are single requests, so that whatever else the machine does falls on all ways alike; the work is what a
busy machine changes least.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio

from trident_client import AsyncSearchClient, SearchClient

OUTPUTS = ("product_id", "score", "title", "count", "details", "generation")
WORDS = ("sofa", "lamp", "usb cable", "deep learning books", "garden hose", "running shoes", "coffee grinder")


def asked(library: Any, query: str) -> dict[str, Any]:
    """Return the arguments of a call, as tritonclient's own examples make them."""
    text = library.InferInput("query", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([[query.encode()]], dtype=np.object_))
    k = library.InferInput("k", [1, 1], "INT64")
    k.set_data_from_numpy(np.array([[10]], dtype=np.int64))
    outputs = [library.InferRequestedOutput(name) for name in OUTPUTS]
    return {"model_name": "search", "inputs": [text, k], "outputs": outputs}


def raw(library: Any, url: str) -> Callable[[str], object]:
    """Return what searches by a client of tritonclient."""
    client = library.InferenceServerClient(url)

    def search(query: str) -> object:
        answer = client.infer(**asked(library, query))
        return [answer.as_numpy(name) for name in OUTPUTS]

    return search


async def raw_aio(library: Any, client: Any, query: str) -> object:
    """Search by an asyncio client of tritonclient."""
    answer = await client.infer(**asked(library, query))
    return [answer.as_numpy(name) for name in OUTPUTS]


async def made(library: Any, url: str) -> Any:
    """Return an asyncio client of tritonclient, which wants a running loop."""
    return library.InferenceServerClient(url)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    parser.add_argument("--http", default="127.0.0.1:8000")
    parser.add_argument("--rounds", type=int, default=400)
    options = parser.parse_args()
    loop = asyncio.new_event_loop()
    urls = {"grpc": f"grpc://{options.grpc}", "http": f"http://{options.http}"}
    clients = {protocol: SearchClient(url, timeout_s=60) for protocol, url in urls.items()}
    twins = {protocol: AsyncSearchClient(url, timeout_s=60) for protocol, url in urls.items()}
    run = loop.run_until_complete
    grpc_aio, http_aio = run(made(triton_grpc_aio, options.grpc)), run(made(triton_http_aio, options.http))
    ways: dict[str, Callable[[str], object]] = {
        "grpc, raw": raw(triton_grpc, options.grpc),
        "grpc, SearchClient": clients["grpc"].search,
        "grpc aio, raw": lambda query: run(raw_aio(triton_grpc_aio, grpc_aio, query)),
        "grpc aio, AsyncSearchClient": lambda query: run(twins["grpc"].search(query)),
        "http, raw": raw(triton_http, options.http),
        "http, SearchClient": clients["http"].search,
        "http aio, raw": lambda query: run(raw_aio(triton_http_aio, http_aio, query)),
        "http aio, AsyncSearchClient": lambda query: run(twins["http"].search(query)),
    }
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    words = itertools.cycle(WORDS)
    for turn in range(options.rounds + 20):
        for way, search in ways.items():
            query = f"{next(words)} {turn}"
            start, work = time.perf_counter(), time.process_time()
            search(query)
            if turn >= 20:  # the first ones open connections
                taken[way].append(((time.perf_counter() - start) * 1000, (time.process_time() - work) * 1000))
    for way, rows in taken.items():
        p50, work = statistics.median(row[0] for row in rows), statistics.mean(row[1] for row in rows)
        raw_rows = taken[f"{way.partition(',')[0]}, raw"]
        added = (work - statistics.mean(row[1] for row in raw_rows)) / statistics.median(row[0] for row in raw_rows)
        sys.stdout.write(f"{way:28} p50 {p50:8.3f} ms, own work {work:6.3f} ms, {added * 100:+5.1f}% of a raw call\n")
    for closed in (*twins.values(), grpc_aio, http_aio):
        run(closed.close())
    loop.close()
    for client in clients.values():
        client.close()


if __name__ == "__main__":
    main()
