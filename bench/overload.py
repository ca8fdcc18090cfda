"""What a server does when twice what it can answer is asked of it for a minute, and afterwards.

    make peers  # Locust, in .venv-peers
    python bench/overload.py --queries pairs.csv --generations generations  # extra bench

perf_analyzer ends at the first request that fails, so Locust asks here: by HTTP, first as many users as keep the server
busy, which tells its best throughput under this load generator, then users that ask twice as much by the clock. Prints
JSON: searches a second, percentiles of the accepted and of the rejected, memory, and how soon a lone query is answered
afterwards. The generator runs on the same machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from trident.bench.process_tree import tree_usage
from trident.bench.queries import draw_queries
from trident.bench.served import Served, started
from trident.errors import BenchError, TridentError
from trident.generation import find_generation
from trident_client import ClientError, SearchClient

HERE = Path(__file__).resolve().parent
LOCUST = HERE.parent / ".venv-peers" / "bin" / "locust"
BUSY_USERS = 32
EAGER = 1000.0  # searches a second of a user that waits for answers only
SECONDS_IN_QUEUE = 2.0  # that users must be enough for: those who wait ask nothing meanwhile
PERCENTILES = ("50%", "95%", "99%", "100%")


def ask(served: Served, queries: Path, *, users: int, rate_per_user: float, seconds: float) -> dict[str, Any]:
    """Return what Locust saw of each kind of answer, and the server's memory before, at half time and at the end."""
    with tempfile.TemporaryDirectory() as scratch:
        prefix = Path(scratch) / "locust"
        command = [str(LOCUST), "--locustfile", str(HERE / "overload_users.py"), "--headless", "--only-summary"]
        command += ["--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds:g}s"]
        command += ["--host", f"http://{served.http}", "--csv", str(prefix), "--exit-code-on-error", "0"]
        environment = os.environ | {
            "OVERLOAD_QUERIES": str(queries),
            "OVERLOAD_RATE_PER_USER": str(rate_per_user),
        }
        memory = [tree_usage(served.pid).memory_mib]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as locust:
            time.sleep(seconds / 2)
            memory.append(tree_usage(served.pid).memory_mib)
            _, said = locust.communicate(timeout=seconds + 120)
        memory.append(tree_usage(served.pid).memory_mib)
        if locust.returncode != 0:
            raise BenchError(f"locust ended with status {locust.returncode}: {said.decode()[-300:]}")
        with prefix.with_name("locust_stats.csv").open(newline="", encoding="utf-8") as file:
            rows = {row["Name"]: row for row in csv.DictReader(file)}
    found: dict[str, Any] = {"memory_mib": [round(value) for value in memory]}
    for name, row in rows.items():
        if name != "Aggregated":
            found[name] = {
                "per_s": round(float(row["Requests/s"]), 1),
                "count": int(row["Request Count"]),
                **{f"p{percentile[:-1]}_ms": float(row[percentile]) for percentile in PERCENTILES},
            }
    return found


def recovery_s(served: Served) -> float:
    """Return the seconds until a lone query is answered."""
    begun = time.monotonic()
    with SearchClient(served.grpc, timeout_s=10) as client:
        while True:
            try:
                client.search("usb cable")
            except ClientError:
                if time.monotonic() - begun > 60:
                    raise
                continue
            return time.monotonic() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--generations", type=Path, default=Path("generations"))
    parser.add_argument("--generation")
    parser.add_argument("--factor", type=float, default=2.0, help="offered, to the best throughput")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    if not LOCUST.is_file():
        sys.exit("overload: .venv-peers has no locust: make peers")
    try:
        generation = find_generation(options.generations, options.generation)
        queries = draw_queries(options.queries, count=10_000)
        with (
            tempfile.TemporaryDirectory() as scratch,
            started(options.generations, generation.id, ()) as served,
        ):
            file = Path(scratch) / "queries.json"
            file.write_text(json.dumps(queries), encoding="utf-8")
            warm = {"users": BUSY_USERS, "rate_per_user": EAGER}
            ask(served, file, **warm, seconds=5.0)
            best = ask(served, file, **warm, seconds=options.seconds / 3)
            offered = options.factor * best["accepted"]["per_s"]
            users = round(offered * SECONDS_IN_QUEUE)
            overload = ask(served, file, users=users, rate_per_user=offered / users, seconds=options.seconds)
            recovered = recovery_s(served)
            again = ask(served, file, **warm, seconds=options.seconds / 3)
    except TridentError as error:
        sys.exit(f"overload: {error}")
    result = {
        "generation": generation.id,
        "best": best,
        "offered_per_s": round(offered, 1),
        "users": users,
        "overload": overload,
        "of_best": round(overload["accepted"]["per_s"] / best["accepted"]["per_s"], 3),
        "recovered_s": round(recovered, 3),
        "again": again,
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
