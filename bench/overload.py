"""What a server does when twice what it can answer is asked of it for a minute, and afterwards.

    make peers && sudo apt-get install wrk  # Locust, in .venv-peers; wrk, of Debian or Ubuntu
    python bench/overload.py --queries pairs.csv --generations generations  # extra bench
    python bench/overload.py … --options '{"rerank": 20, "rerank_budget_ms": 15}'  # of each search

perf_analyzer ends at the first request that fails. So wrk asks here, by HTTP, since it takes little of the cores that
the server runs on: first as many users as keep the server busy, which tells its best throughput, then many users who
ask twice as much together. Their queries come by Poisson, whether others were answered or not: there are as many users
as can wait at a time. wrk looks through all of them at each step, so that more would take the server's cores. Locust
asks twenty times a second beside them, to tell how long answers and rejections take. Prints JSON: searches a second,
percentiles, CPU time, memory, and how soon a lone query is answered afterwards. Answers whose second stage the budget
cut short are told apart, as the server marks them: ``cut``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from trident.bench.process_tree import tree_usage
from trident.bench.queries import draw_queries
from trident.bench.run import forgetting
from trident.bench.served import Served, started
from trident.errors import BenchError, TridentError
from trident.generation.generation import find_generation
from trident_client import ClientError, SearchClient

HERE = Path(__file__).resolve().parent
LOCUST = HERE.parent / ".venv-peers" / "bin" / "locust"
RESERVE_S = 1.0  # of what is offered, a connection each: nobody waits longer, and more would cost wrk more
PROBES = 20  # users of Locust's, each once a second
PERCENTILES = ("50%", "95%", "99%", "100%")


def ask(served: Served, asked: list[dict[str, Any]], *, users: int, rate: float, seconds: float) -> dict[str, Any]:
    """Return what wrk and Locust saw, and the server's CPU time and memory meanwhile; rate 0: as fast as they can."""
    with tempfile.TemporaryDirectory() as scratch:
        bodies, prefix = Path(scratch) / "bodies", Path(scratch) / "locust"
        bodies.write_text("\n".join(json.dumps(body) for body in asked) + "\n", encoding="utf-8")
        url = f"http://{served.http}"
        load = ["wrk", "--threads", "1", "--connections", str(users), "--duration", f"{round(seconds)}s"]
        load += ["--timeout", "60s", "--script", str(HERE / "overload.lua"), url]
        probe = [str(LOCUST), "--locustfile", str(HERE / "overload_users.py"), "--headless", "--only-summary"]
        probe += ["--users", str(PROBES), "--spawn-rate", str(PROBES), "--run-time", f"{round(seconds)}s"]
        probe += ["--host", url, "--csv", str(prefix), "--exit-code-on-error", "0"]
        variables = {"OVERLOAD_BODIES": bodies, "OVERLOAD_RATE": rate}
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        before, generators = tree_usage(served.pid), _children_s()
        with (
            subprocess.Popen(load, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as wrk,
            subprocess.Popen(probe, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as locust,
        ):
            time.sleep(seconds / 2)
            half = tree_usage(served.pid)
            said, _ = wrk.communicate(timeout=seconds + 120)
            _, complaint = locust.communicate(timeout=120)
        after = tree_usage(served.pid)
        if wrk.returncode or locust.returncode:
            raise BenchError(f"wrk or locust failed: {said.decode()[-300:]} {complaint.decode()[-300:]}")
        counted = json.loads(said.decode().strip().splitlines()[-1])
        with prefix.with_name("locust_stats.csv").open(newline="", encoding="utf-8") as file:
            rows = {row["Name"]: row for row in csv.DictReader(file) if row["Name"] != "Aggregated"}
    seen = {name: int(row["Request Count"]) for name, row in rows.items()}
    accepted = counted["accepted"] + seen.get("accepted", 0) + seen.get("cut", 0)
    rejected = counted["rejected"] + seen.get("rejected", 0)
    return {
        "users": users,
        "locust_saw": seen,
        "accepted_per_s": round(accepted / counted["seconds"], 1),
        "rejected_per_s": round(rejected / counted["seconds"], 1),
        "failed": counted["other"] + counted["broken"],
        **{
            f"{name}_ms": {percentile: float(row[percentile]) for percentile in PERCENTILES}
            for name, row in rows.items()
        },
        "cpu_s_per_1000_accepted": round(1000 * (after.cpu_s - before.cpu_s) / accepted, 2),
        "generators_cores": round((_children_s() - generators) / seconds, 2),
        "memory_mib": [round(usage.memory_mib) for usage in (before, half, after)],
    }


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


def _body(query: str, options: str) -> dict[str, Any]:
    given = {"query": query, **({"options": options} if options else {})}
    inputs = [{"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [text]} for name, text in given.items()]
    return {"inputs": inputs}


def _children_s() -> float:
    """Return the CPU seconds of the processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--generations", type=Path, default=Path("generations"))
    parser.add_argument("--generation")
    parser.add_argument("--users", type=int, default=32, help="who keep the server busy, for its best throughput")
    parser.add_argument("--factor", type=float, default=2.0, help="offered, to the best throughput")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--options", default="", help="of each search, a JSON object")
    options = parser.parse_args()
    if not LOCUST.is_file():
        sys.exit("overload: .venv-peers has no locust: make peers")
    if shutil.which("wrk") is None:
        sys.exit("overload: no wrk on PATH: apt-get install wrk")
    try:
        generation = find_generation(options.generations, options.generation)
        queries = [_body(query, options.options) for query in draw_queries(options.queries, count=10_000)]
        with forgetting(), started(options.generations, generation.id, ()) as served:
            ask(served, queries, users=options.users, rate=0.0, seconds=5.0)
            best = ask(served, queries, users=options.users, rate=0.0, seconds=options.seconds / 3)
            offered = options.factor * best["accepted_per_s"]
            many = round(offered * RESERVE_S)
            overload = ask(served, queries, users=many, rate=offered, seconds=options.seconds)
            recovered = recovery_s(served)
            again = ask(served, queries, users=options.users, rate=0.0, seconds=options.seconds / 3)
    except TridentError as error:
        sys.exit(f"overload: {error}")
    result = {
        "generation": generation.id,
        "best": best,
        "overload": overload,
        "offered_of_best": round((overload["accepted_per_s"] + overload["rejected_per_s"]) / best["accepted_per_s"], 3),
        "of_best": round(overload["accepted_per_s"] / best["accepted_per_s"], 3),
        "recovered_s": round(recovered, 3),
        "again": again,
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
