"""What happens to a server while clients of all four forms ask it: each answer is right or a typed error, in time."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trident.generation.generation import find_generation
from trident.processes.model_processes import children
from trident.promotion.promotion import PromoteOptions, promote
from trident.server.server import ServerUrls, TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import (
    AsyncSearchClient,
    Behaviour,
    ClientError,
    RequestTimeoutError,
    SearchClient,
    ServerOverloadedError,
    ServerUnavailableError,
    UnexpectedAnswerError,
)

TIMEOUT_S = 20.0
PAUSE_S = 0.05  # between questions: what acts on the server must get through too
SLACK_S = 10.0  # of a machine that does other work; a hang is longer
TEXTS = [f"navy sofa {number}" for number in range(192)]  # three requests
FORMS = ["grpc", "grpc-async", "http", "http-async"]
PASSING = (ServerUnavailableError, RequestTimeoutError, ServerOverloadedError, UnexpectedAnswerError)


@dataclass
class Seen:
    """What one form of the client got: answers, and errors with the seconds that they took."""

    answers: list[Any] = field(default_factory=list)
    errors: list[tuple[ClientError, float]] = field(default_factory=list)


def ask_until(
    stop: threading.Event, form: str, urls: ServerUrls, question: tuple[str, Any], seen: Seen, retries: int
) -> None:
    """Ask again and again until told to stop, and write down what comes back."""
    behaviour = Behaviour(retries=retries)
    protocol = form.partition("-")[0]
    url = f"{protocol}://{getattr(urls, protocol)}"
    name, argument = question

    async def by_tasks() -> None:
        async with AsyncSearchClient(url, timeout_s=TIMEOUT_S, behaviour=behaviour) as client:
            while not stop.is_set():
                start = time.monotonic()
                try:
                    seen.answers.append(await getattr(client, name)(argument))
                except ClientError as error:
                    seen.errors.append((error, time.monotonic() - start))
                await asyncio.sleep(PAUSE_S)

    def by_calls() -> None:
        with SearchClient(url, timeout_s=TIMEOUT_S, behaviour=behaviour) as client:
            while not stop.is_set():
                start = time.monotonic()
                try:
                    seen.answers.append(getattr(client, name)(argument))
                except ClientError as error:
                    seen.errors.append((error, time.monotonic() - start))
                time.sleep(PAUSE_S)

    asyncio.run(by_tasks()) if form.endswith("-async") else by_calls()


def while_asked(
    urls: ServerUrls,
    question: tuple[str, Any],
    act: Callable[[], object],
    until: Callable[[Seen], bool],
    *,
    retries: int = 0,
) -> dict[str, Seen]:
    """Return what each form saw while something was done to the server, and until each has seen enough."""
    stop, seen = threading.Event(), {form: Seen() for form in FORMS}

    def wait(enough: Callable[[Seen], bool]) -> None:
        end = time.monotonic() + 120
        while not all(map(enough, seen.values())):
            assert time.monotonic() < end, seen
            time.sleep(0.05)

    with ThreadPoolExecutor(len(FORMS)) as pool:
        running = [pool.submit(ask_until, stop, form, urls, question, seen[form], retries) for form in FORMS]
        try:
            wait(lambda each: len(each.answers) > 0)
            act()
            wait(until)
        finally:
            stop.set()
        for each in running:
            each.result(timeout=60)
    return seen


def test_a_server_that_is_killed_while_it_is_asked(tiny_generations: Path) -> None:
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(find_generation(tiny_generations), tiny_generations, options) as server:
        seen = while_asked(
            server.urls,
            ("search_many", TEXTS),
            act=lambda: os.kill(server.pid, signal.SIGKILL),
            until=lambda each: len(each.errors) > 1,
        )
    for form, each in seen.items():
        assert each.answers, form
        assert all(len(found) == len(TEXTS) for found in each.answers), form
        assert each.errors, form
        for error, seconds in each.errors:
            assert isinstance(error, PASSING), (form, error)
            assert seconds < TIMEOUT_S + SLACK_S, form


def test_a_promotion_in_the_middle_of_lists(server: TritonServer, own: Any, port: int) -> None:
    """No list loses a query; vectors of two encoders are never handed out as one."""

    def is_over(each: Seen) -> bool:
        return any(result.generation == own.b.id for results in each.answers for result in results)

    for question, target, until in (
        (("search_many", TEXTS), own.b, is_over),
        (("embed", TEXTS), own.a, lambda _: True),
    ):
        options = PromoteOptions()
        act = partial(promote, own.folder, port, target.id, options, report=lambda _: None)
        seen = while_asked(server.urls, question, act, until=until, retries=10)  # of overloads
        for form, each in seen.items():
            assert each.answers, form
            assert all(len(found) == len(TEXTS) for found in each.answers), form
            if question[0] == "search_many":
                assert each.errors == [], form
                found = [result for results in each.answers for result in results]
                assert {result.generation for result in found} == {own.a.id, own.b.id}, form
                letters = {own.a.id: "a", own.b.id: "b"}
                for result in found:
                    assert all(hit.product_id.startswith(letters[result.generation]) for hit in result.hits)
            for error, _ in each.errors:
                assert isinstance(error, UnexpectedAnswerError), (form, error)
                assert "texts must be embedded by one generation" in str(error)


def counted(server: TritonServer) -> dict[str, float]:
    """Return the server's own counts: searches that were worked on, requests that had expired, other failures."""
    connection = http.client.HTTPConnection(server.urls.metrics, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    counts = dict.fromkeys(("searched", "expired", "other"), 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "trident_searches_total":
                counts["searched"] += sample.value
            if sample.name == "trident_failed_total":
                counts["expired" if sample.labels["reason"] == "expired" else "other"] += sample.value
    return counts


def settled(server: TritonServer) -> dict[str, float]:
    """Return the counts once they stand still; they are up to a second behind."""
    end = time.monotonic() + 20
    while True:
        found = counted(server)
        time.sleep(1.5)
        if found == counted(server):
            return found
        assert time.monotonic() < end


@pytest.mark.parametrize("form", FORMS)
def test_a_client_that_gave_up_is_not_worked_for(tiny_server: TritonServer, form: str) -> None:
    """The pipeline's processes stand still for longer than the client waits; by the server's own count, afterwards."""
    protocol = form.partition("-")[0]
    url = f"{protocol}://{getattr(tiny_server.urls, protocol)}"

    async def give_up_by_tasks() -> None:
        async with AsyncSearchClient(url, timeout_s=0.3) as client:
            for question in (client.search("ivory lamp"), client.search("navy sofa"), client.embed(["red lamp"])):
                with pytest.raises(RequestTimeoutError, match=r"no answer from .* within 0\.3 s"):
                    await question

    def give_up_by_calls() -> None:
        with SearchClient(url, timeout_s=0.3) as client:
            for name, asked in (("search", "ivory lamp"), ("search", "navy sofa"), ("embed", ["red lamp"])):
                with pytest.raises(RequestTimeoutError, match=r"no answer from .* within 0\.3 s"):
                    getattr(client, name)(asked)

    with SearchClient(url, timeout_s=60) as patient:
        patient.search("navy sofa")
        before = settled(tiny_server)
        processes = list(children(tiny_server.pid))
        try:
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            asyncio.run(give_up_by_tasks()) if form.endswith("-async") else give_up_by_calls()
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
        after = settled(tiny_server)
        grown = {name: after[name] - before[name] for name in before}
        assert grown == {"searched": 0.0, "expired": 3.0, "other": 0.0}
        assert patient.search("ivory lamp").hits


@pytest.fixture
def half_closed() -> Iterator[int]:
    """Yield the port of a server that closes its side for writing at once and reads on for ever."""
    stop, kept = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.shutdown(socket.SHUT_WR)
                kept.append(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()
        thread.join()
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_half_closed_connection_is_an_error_in_time(half_closed: int, form: str) -> None:
    url = f"{form.partition('-')[0]}://127.0.0.1:{half_closed}"

    async def ask() -> None:
        async with AsyncSearchClient(url, timeout_s=1) as client:
            await client.search("sofa")

    def ask_at_once() -> None:
        with SearchClient(url, timeout_s=1) as client:
            client.search("sofa")

    start = time.monotonic()
    with pytest.raises(PASSING):
        asyncio.run(ask()) if form.endswith("-async") else ask_at_once()
    assert time.monotonic() - start < 1 + SLACK_S
