"""What the gateway adds to a search: the time of a request to it less the time that its own client waited for Triton.

    trident serve --generations demo-output/generations &
    trident gateway --port 8080 &
    python bench/gateway_latency.py --rounds 1000

One connection that stays open, one request after another. Triton's time is the header Server-Timing of the same answer,
so that whatever else the machine does to Triton falls out.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import statistics
import sys
import time

WORDS = ("sofa", "lamp", "usb cable", "deep learning books", "garden hose", "running shoes", "coffee grinder")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", default="127.0.0.1:8080", help="HOST:PORT")
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    connection = http.client.HTTPConnection(options.gateway, timeout=60)
    words, whole, added = itertools.cycle(WORDS), [], []
    for turn in range(options.rounds + 20):
        body = json.dumps({"query": f"{next(words)} {turn}", "k": 10})
        start = time.perf_counter()
        connection.request("POST", "/search", body, {"content-type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        took_ms = (time.perf_counter() - start) * 1000
        if reply.status != 200:
            sys.exit(f"the gateway at {options.gateway} answered {reply.status}: {text.decode()}")
        found = re.search(r"triton;dur=([\d.]+)", reply.getheader("server-timing", ""))
        if found is None:
            sys.exit(f"the gateway at {options.gateway} says no Server-Timing")
        if turn >= 20:  # the first ones open connections
            whole.append(took_ms)
            added.append(took_ms - float(found[1]))
    connection.close()
    for name, values in (("whole", whole), ("added by the gateway", added)):
        p50, p95 = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        sys.stdout.write(f"{name:22} p50 {p50:7.3f} ms, p95 {p95:7.3f} ms\n")


if __name__ == "__main__":
    main()
