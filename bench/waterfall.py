"""Where the time of a lone query goes, from the client's call to its result, part by part, as a table.

    python bench/waterfall.py --queries pairs.csv --generations generations [--generation ID] [--count 1000] [--json]

Two tritonservers with the same binary, configuration and ensemble are asked in turns by one ``SearchClient`` over gRPC:
one serves the generation, with a stopwatch around its Python (``waterfall_model.py``); in the other the Python model
gives the same answer always and looks at nothing, so that its rows are what client, gRPC, Triton, its Python backend
and shared memory cost by themselves. Triton traces every request; all clocks are the machine's monotonic one. Shown are
means over the middle fifth of the requests by their whole time (the median query) and over the fastest tenth, which
say something on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trident.bench.queries import draw_queries
from trident.errors import BenchError, TridentError
from trident.generation.generation import Generation, find_generation
from trident.server.models import ENSEMBLES, ONE_PROCESS, PIPELINE, SEARCH
from trident.server.runtime_repository import lay_out
from trident.server.server import ServerConfig, TritonServer, free_ports
from trident_client import SearchClient

TURN = 50  # queries that a server gets before the other has its turn
TIMES = "times"
WARM = 50  # of each server, not counted
BEFORE = (
    "client: checks, request",
    "gRPC, to the server",
    "Triton: request to ensemble",
    "Triton: ensemble to model",
    "Triton: queue of the model",
    "Python backend: tensors into shared memory, stub woken",
)
AFTER = (
    "Python backend and Triton: response out",
    "gRPC, to the client",
    "client: result",
)
OTHER = "Python of the pipeline, the rest"
EMPTY = "Python of the empty model"

Call = tuple[int, int, int, int]  # nanoseconds: search called, request handed to gRPC, answer back, result there
Row = dict[str, float]  # microseconds of each part of one query


@dataclass(frozen=True)
class Place:
    """A server's files."""

    models: Path
    trace: Path
    times: Path


def model_lines(name: str, *paths: Path) -> str:
    """Return the Python of a ``model.py`` that a function of ``waterfall_model`` makes."""
    given = ", ".join(f"Path({str(path)!r})" for path in paths)
    here = str(Path(__file__).resolve().parent)
    return (
        f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {here!r})\n"
        f"from waterfall_model import {name}\nTritonPythonModel = {name}({given})\n"
    )


@contextmanager
def served(generation: Generation, folder: Path, lines: str) -> Iterator[tuple[TritonServer, Place]]:
    """Yield a server whose pipeline is what lines of Python make; it traces every request."""
    place = Place(folder / "models", folder / "trace.json", folder / TIMES)
    folder.mkdir()
    lay_out(place.models, generation, variant=ONE_PROCESS, cache=False, plan=None)
    model = place.models / PIPELINE / str(generation.serial) / "model.py"
    model.unlink()  # a link to the generation's
    model.write_text(lines, encoding="utf-8")
    http_port, grpc_port, metrics_port = free_ports(3)
    traced = (f"triton,file={place.trace}", f"triton,log-frequency={TURN}", "level=TIMESTAMPS", "rate=1", "count=-1")
    config = ServerConfig(
        model_repository=place.models,
        load_models=ENSEMBLES,
        model_config_name=ONE_PROCESS,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        options=tuple(f"--trace-config={each}" for each in traced),
    )
    with TritonServer(config) as server:
        yield server, place


def timed_client(url: str) -> tuple[SearchClient, Callable[[str], Call]]:
    """Return a client, and what asks it for a query and says when what happened."""
    client = SearchClient(url, timeout_s=60)
    link, passed = client._transport._link, [0, 0]
    inner = link.infer

    def infer(*given: Any, **options: Any) -> Any:
        passed[0] = time.perf_counter_ns()
        answer = inner(*given, **options)
        passed[1] = time.perf_counter_ns()
        return answer

    link.infer = infer  # type: ignore[method-assign]

    def ask(query: str) -> Call:
        started = time.perf_counter_ns()
        client.search(query)
        return (started, passed[0], passed[1], time.perf_counter_ns())

    return client, ask


def ask_in_turns(urls: Sequence[str], queries: Sequence[str]) -> list[list[Call]]:
    """Return the calls of each server; the same queries, in turns of ``TURN``."""
    clients, asks = zip(*map(timed_client, urls), strict=True)
    calls: list[list[Call]] = [[] for _ in asks]
    for ask in asks:
        for query in queries[:WARM]:
            ask(query)
    for number, start in enumerate(range(0, len(queries), TURN)):
        sides = range(len(asks)) if number % 2 == 0 else reversed(range(len(asks)))
        for side in sides:
            calls[side] += [asks[side](query) for query in queries[start : start + TURN]]
    for client in clients:
        client.close()
    return calls


def read_traces(path: Path) -> list[dict[str, Any]]:
    """Return a table for each traced request: its model, its parent's number, and nanoseconds by name.

    Triton writes a file for each ``TURN`` requests; those after the last it keeps to itself (2.51).
    """
    files = path.parent.glob(f"{path.name}.*")
    entries = [entry for file in files for entry in json.loads(file.read_text("utf-8"))]
    found: dict[int, dict[str, Any]] = {}
    for entry in entries:
        trace = found.setdefault(entry["id"], {"id": entry["id"], "at": {}})
        trace.update({name: entry[name] for name in ("model_name", "parent_id") if name in entry})
        trace["at"].update({each["name"]: each["ns"] for each in entry.get("timestamps", [])})
    return list(found.values())


def read_times(place: Place) -> list[dict[str, Any]]:
    """Return what each call of ``execute`` took, of all instances."""
    files = sorted(place.times.parent.glob(f"{place.times.name}.*"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def rows_of(calls: Sequence[Call], traces: Sequence[dict[str, Any]], executed: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the parts of each query whose trace lies between its call and its answer.

    Raises:
        BenchError: If none does.
    """
    of_search = sorted((each for each in traces if each.get("model_name") == SEARCH), key=_started)
    children = {each["parent_id"]: each for each in traces if each.get("model_name") == PIPELINE}
    starts = np.array([_started(each) for each in of_search])
    executed = sorted(executed, key=lambda each: each["start"])
    begun = np.array([each["start"] for each in executed])
    rows = []
    for call in calls:
        number = int(np.searchsorted(starts, call[1]))
        if number == len(of_search) or starts[number] > call[2]:
            continue
        outer = of_search[number]
        child = children.get(outer["id"])
        if child is None:
            continue
        place = int(np.searchsorted(begun, child["at"]["COMPUTE_START"]))
        if place < len(executed) and executed[place]["start"] < call[2]:
            rows.append(_parts(call, outer["at"], child["at"], executed[place]))
    if not rows:
        raise BenchError(f"traces must tell of what was asked, got {len(traces)} traces of {len(calls)} calls")
    return rows


def _started(trace: dict[str, Any]) -> int:
    return int(trace["at"]["REQUEST_START"])


def _parts(call: Call, outer: dict[str, int], inner: dict[str, int], executed: dict[str, Any]) -> Row:
    received = min(outer.get("GRPC_WAITREAD_END", outer["REQUEST_START"]), outer["REQUEST_START"])
    sent = outer.get("GRPC_SEND_START", outer["REQUEST_END"])
    marks = (call[0], call[1], received, outer["REQUEST_START"], inner["REQUEST_START"], inner["COMPUTE_START"])
    ends = (*marks[1:], executed["start"])
    row = {name: (end - start) / 1000 for name, start, end in zip(BEFORE, marks, ends, strict=True)}
    own = {name: taken / 1000 for name, taken in executed["own"].items()}
    spent = (executed["end"] - executed["start"]) / 1000
    row |= own | {(OTHER if own else EMPTY): spent - sum(own.values())}
    after = zip(AFTER, (executed["end"], sent, call[2]), (sent, call[2], call[3]), strict=True)
    return row | {name: (end - start) / 1000 for name, start, end in after}


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return the mean of each part over the middle fifth of the queries and over the fastest tenth, microseconds."""
    whole = np.array([sum(row.values()) for row in rows])
    order = np.argsort(whole)
    count = len(order)
    chosen = {"median": order[int(0.4 * count) : max(int(0.6 * count), 1)], "fastest": order[: max(count // 10, 1)]}
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {
        kind: {name: float(np.mean([rows[place].get(name, 0.0) for place in places])) for name in names}
        for kind, places in chosen.items()
    }


def measure(generation: Generation, queries: Sequence[str]) -> dict[str, Any]:
    """Return the waterfalls of the generation and of the empty model.

    Raises:
        TridentError: If a server does not start, or traces nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        answer = folder / "answer.npz"
        source = generation.version_folder(PIPELINE) / "model.py"
        watched = model_lines("watched_model", source, folder / "served" / TIMES, answer)
        empty = model_lines("empty_model", answer, folder / "empty" / TIMES)
        with served(generation, folder / "served", watched) as (server, of_server):
            with SearchClient(server.urls.grpc, timeout_s=60) as client:
                client.search(queries[0])  # leaves the answer that the other gives
            with served(generation, folder / "empty", empty) as (other, of_other):
                calls = ask_in_turns((server.urls.grpc, other.urls.grpc), queries)
        timed = rows_of(calls[0], read_traces(of_server.trace), read_times(of_server))
        bare = rows_of(calls[1], read_traces(of_other.trace), read_times(of_other))
    return {"generation": generation.id, "queries": len(queries), "matched": [len(timed), len(bare)]} | {
        name: summary(rows) for name, rows in (("served", timed), ("empty", bare))
    }


def show(found: dict[str, Any]) -> None:
    """Print the table, in the order in which a query passes."""
    columns = [found[side][kind] for kind in ("median", "fastest") for side in ("served", "empty")]
    names = [*BEFORE, *(name for name in columns[0] if name not in (*BEFORE, *AFTER)), EMPTY, *AFTER]
    sys.stdout.write(f"microseconds; generation {found['generation']}, {found['queries']} queries\n")
    sys.stdout.write(
        "| part | median | empty model | fastest tenth | empty model |\n| --- | ---: | ---: | ---: | ---: |\n"
    )
    for name in names:
        cells = (f"{column[name]:.0f}" if name in column else "" for column in columns)
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
    sys.stdout.write(f"| all | {' | '.join(f'{sum(column.values()):.0f}' for column in columns)} |\n")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=Path, required=True, help="pairs whose queries are asked")
    parser.add_argument("--generations", type=Path, default=Path("generations"))
    parser.add_argument("--generation", help="an id; otherwise the newest")
    parser.add_argument("--count", type=int, default=1000, help="queries of each server at most")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    try:
        generation = find_generation(options.generations, options.generation)
        found = measure(generation, draw_queries(options.queries, count=options.count))
    except TridentError as error:
        sys.exit(f"waterfall: {error}")
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        show(found)


if __name__ == "__main__":
    main()
