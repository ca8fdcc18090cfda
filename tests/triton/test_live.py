"""A live catalogue behind a real server: what was answered is found, in every process; what is wrong is refused."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from live_servers import TITLE, found

from trident.journal.folder import LiveFolder
from trident_client import (
    AsyncSearchClient,
    InvalidRequestError,
    SearchClient,
    WriteKeyError,
)


def test_a_search_after_an_upsert_was_answered_sees_it(client):
    for number in range(20):
        written = client.upsert([{"id": f"new-{number}", "title": f"{TITLE} {number}"}])
        result = client.search(TITLE, k=300)
        assert f"new-{number}" in {hit.product_id for hit in result.hits}
        assert result.details["sequence"] >= written.number
    written = client.delete([f"new-{number}" for number in range(20)])
    assert written.done == 20
    assert not [product for product in found(client, TITLE) if product.startswith("new-")]


def look(live, own, protocol: Any, name: str, trials: int) -> int:
    """Return how many products that a client puts in are found at once, with the number that was answered."""
    url = live.urls.grpc if protocol == "grpc" else live.urls.http
    seen = 0
    with SearchClient(url, protocol=protocol, write_key=LiveFolder.of(own.folder).key(), timeout_s=120) as client:
        for trial in range(trials):
            product = f"fresh-{name}-{trial}"
            written = client.upsert([{"id": product, "title": f"{TITLE} {name} {trial}"}])
            result = client.search(TITLE, k=300)
            there = product in {hit.product_id for hit in result.hits}
            seen += there and result.details["sequence"] >= written.number
            client.delete([product])
    return seen


def searches_by_process(metrics_url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{metrics_url}/metrics") as answer:
        text = answer.read().decode()
    return {
        worker: float(value)
        for worker, value in re.findall(r'^trident_searches_total\{.*worker="(\d+)".*\} (\S+)$', text, re.MULTILINE)
    }


@pytest.mark.parametrize("trials", [240, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3 * 3600)])])
def test_searches_of_several_clients_see_what_was_answered_in_both_processes(live, own, trials):
    before = searches_by_process(live.urls.metrics)
    clients = [(protocol, f"{protocol}{number}") for protocol in ("grpc", "http") for number in range(2)]
    with ThreadPoolExecutor(len(clients)) as pool:
        each = [pool.submit(look, live, own, *client, trials // len(clients)) for client in clients]
        assert sum(one.result() for one in each) == trials
    deadline = time.monotonic() + 30  # processes count beside their answers
    while True:
        counts = searches_by_process(live.urls.metrics)
        counted = [counts[worker] - before.get(worker, 0.0) for worker in counts]
        if sum(counted) >= trials:
            break
        assert time.monotonic() < deadline, counted
        time.sleep(0.2)
    assert len([count for count in counted if count > trials / 20]) == 2, counted


def test_a_product_of_the_base_is_replaced_deleted_and_comes_back(client):
    before = found(client, TITLE)
    assert len(before) == 144
    product = client.search(TITLE, k=1).hits[0].product_id
    client.upsert([{"id": product, "title": "something else"}])
    assert found(client, TITLE) == before | {product: "something else"}
    client.delete([product])
    assert product not in found(client, TITLE)
    client.upsert([{"id": product, "title": before[product]}])
    assert found(client, TITLE) == before


def test_a_late_delivery_is_stale_and_an_unknown_product_is_said(client):
    own = f"versioned-{client.catalogue_stats()['number']}"  # each protocol has its own
    client.upsert([{"id": own, "title": TITLE, "version": 5}])
    assert client.upsert([{"id": own, "title": "old", "version": 4}]).stale == (own,)
    with pytest.raises(InvalidRequestError, match=r"product 'nowhere': the catalogue has no field 'price'"):
        client.update([{"id": "nowhere", "attributes": {"price": 1}}])
    assert client.delete([own, "nowhere"]).unknown == ("nowhere",)
    assert client.upsert([{"id": own, "title": "late", "version": 3}]).stale == (own,)
    client.upsert([{"id": own, "title": "late", "version": 6}])
    client.delete([own])


@pytest.mark.parametrize("key", [None, "wrong"])
def test_nobody_writes_without_the_key(live, client, key):
    number = client.catalogue_stats()["number"]
    with (
        SearchClient(live.urls.grpc, write_key=key) as other,
        pytest.raises(WriteKeyError, match=r"needs the write key, got none|must be that of the folder"),
    ):
        other.delete(["a0001"])
    assert client.catalogue_stats()["number"] == number


@pytest.mark.parametrize("model", ["search", "catalogue"])
def test_a_key_that_is_no_text_is_refused_in_a_sentence(live, model):
    """It is forwarded to every model: others of a search's batch would be lost with it."""
    named = {"search": {"query": TITLE}, "catalogue": {"action": "stats"}}[model]
    shape = {"search": [1, 1], "catalogue": [1]}[model]
    inputs = [{"name": name, "shape": shape, "datatype": "BYTES", "data": [value]} for name, value in named.items()]
    connection = http.client.HTTPConnection(live.urls.http, timeout=20)
    headers = {"trident-write-key": b"\xff\xfe"}
    connection.request("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": inputs}), headers)
    answer = connection.getresponse()
    status, said = answer.status, answer.read().decode(errors="replace")
    connection.close()
    assert (status, "UTF-8" in said) == (400, True), said


def test_pages_are_those_of_the_catalogue_as_it_is(client, live):
    written = client.upsert(
        [{"id": f"page-{place}", "title": f"{TITLE} {place}", "attributes": {"brand": "Later"}} for place in range(6)]
    )
    base = client.search(filter={"brand": "Alba"}, k=3, fields=["stock"]).hits
    changed = [{"id": hit.product_id, "attributes": {"brand": "Later", "stock": 90}} for hit in base[:2]]
    changed += [{"id": f"page-{place}", "attributes": {"stock": place}} for place in range(5)]
    written = client.update(changed)
    later = {"brand": "Later"}
    page = client.search(TITLE, filter=later, k=4, sort="-stock", fields=["stock"], facets=["brand", "stock"])
    assert [hit.attributes["stock"] for hit in page.hits] == [90, 90, 4, 3]
    assert page.details["sequence"] == written.number
    brands = {each["value"]: each["count"] for each in page.details["facets"]["brand"]["values"]}
    missing = page.details["facets"]["brand"]["missing"]  # another test upserts a product without one
    assert (brands["Later"], sum(brands.values()) + missing) == (8, 150)
    more = client.search(TITLE, filter=later, k=4, sort="-stock", offset=4)
    assert [hit.product_id for hit in more.hits] == ["page-2", "page-1", "page-0", "page-5"]
    browsed = client.search(filter=later, k=3)
    assert browsed.total == 8
    assert [hit.product_id for hit in browsed.hits] == [base[0].product_id, base[1].product_id, "page-5"]
    grouped = client.search(TITLE, group="brand", k=10, fields=["brand"])
    brands_there = [hit.attributes["brand"] for hit in grouped.hits if hit.attributes["brand"] is not None]
    assert sorted(brands_there) == ["Alba", "Borex", "Later"]
    like = client.search(like="page-1", filter=later, k=10)
    assert len(like.hits) == 7
    with pytest.raises(InvalidRequestError, match=r"like must be the id of a product of the catalogue at number \d"):
        client.search(like="nowhere")
    client.delete([f"page-{place}" for place in range(6)])
    client.update(
        [{"id": hit.product_id, "attributes": {"brand": "Alba", "stock": hit.attributes["stock"]}} for hit in base[:2]]
    )
    assert client.search(filter=later).total == 0
    deadline = time.monotonic() + 30  # instances count beside their answers
    while not {"browse", "gathered"} <= (ways := counted_ways(live.urls.metrics)):
        assert time.monotonic() < deadline, ways
        time.sleep(0.1)


def counted_ways(metrics_url):
    """Return the ways of searches that the server has counted."""
    with urllib.request.urlopen(f"http://{metrics_url}/metrics") as answer:
        text = answer.read().decode()
    return set(re.findall(r'^trident_search_way_total\{.*way="(\w+)".*\} [1-9]', text, re.MULTILINE))


UPSERT = {"op": "upsert", "id": "bad", "title": "a title"}
BAD_WRITES: list[tuple[Any, str]] = [
    ({"op": "upsert", "id": "bad"}, "the title of an upsert must be text that is not empty, got null"),
    ({**UPSERT, "title": "  "}, "the title of an upsert must be text that is not empty"),
    ({**UPSERT, "title": "x" * 9000}, "the title of an upsert must be at most 8,192 bytes, got 9,000"),
    ({**UPSERT, "id": "y" * 10_000}, "id must be at most 512 bytes, got 10,000"),
    ({**UPSERT, "id": 5}, "id must be text that is not empty, got 5"),
    ({**UPSERT, "op": "remove"}, "op must be upsert, update, delete, got"),
    ({**UPSERT, "titel": "a"}, r"got 'titel' \(did you mean 'title'"),
    ({**UPSERT, "version": -1}, "version must be a whole number from 0"),
    ({**UPSERT, "untouched_after": "5"}, "untouched_after must be a whole number from 0"),
    ({**UPSERT, "attributes": {"stocc": 1}}, r"the catalogue has no field 'stocc' \(did you mean 'stock'"),
    ({**UPSERT, "attributes": {"brand": 5}}, "brand is a keyword and takes a text, got 5"),
    ({**UPSERT, "attributes": {"stock": "5"}}, "stock is a number and takes a number, got"),
    ({**UPSERT, "attributes": {"stock": float("nan")}}, "operations must be made of JSON's types and finite numbers"),
    ({**UPSERT, "attributes": {"brand": "x" * 70_000}}, "attributes must be at most 65,536 bytes of JSON"),
    ({**UPSERT, "attributes": [1]}, "attributes must be an object"),
    ({"op": "update", "id": "bad"}, "update must have attributes to change, got none"),
    ({"op": "update", "id": "bad", "title": "a", "attributes": {"stock": 1}}, "update takes no title: use upsert"),
    ({"op": "delete", "id": "bad", "attributes": {"stock": 1}}, "delete takes no attributes"),
    ([UPSERT, UPSERT], "each product must come once in a request, got 'bad' as operation 1 and 2"),
    ("delete", "operation 1 of 1 must be an object with op and id"),
]
DEEP: dict[str, Any] = {"brand": "Alba"}
for _ in range(200):
    DEEP = {"not": DEEP}
BAD_SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({"filter": {"stocc": 1}}, "filter has no field 'stocc' .did you mean 'stock'"),
    ({"filter": {"brand": 7}}, "brand is a keyword and takes a text, got 7"),
    ({"filter": {"stock": {"lt": "5"}}}, "stock is a number and lt takes a number"),
    ({"filter": {"brand": []}}, "filter.brand must name at least one value, got"),
    ({"filter": {"stock": {"gte": 5, "lt": 1}}}, "filter.stock must be a range that holds a number"),
    ({"filter": DEEP}, "filter must not be nested more than 20 deep|options must be one JSON object"),
    ({"filter": {"brand": ["x" * 1000] * 10_000}}, "options must have at most 100,000 bytes"),
    ({"filter": "half a {"}, "filter must be one JSON object"),
    ({"sort": "stocc"}, "sort has no field 'stocc'"),
    ({"group": ["brand"]}, "group must name a field"),
    ({"facets": {"brand": 0}}, "facets.brand takes a number of values, 1 to 1000, got 0"),
    ({"like": "nowhere"}, r"like must be the id of a product of the catalogue at number \d"),
]


def test_bad_input_is_refused_in_one_line_and_nothing_is_written(client):
    number = client.catalogue_stats()["number"]
    for operations, words in BAD_WRITES:
        with pytest.raises(InvalidRequestError, match=words) as refused:
            client.write(operations if isinstance(operations, list) else [operations])
        assert "\n" not in str(refused.value)
    for asked, words in BAD_SEARCHES:
        with pytest.raises(InvalidRequestError, match=words) as refused:
            client.search(*(() if "like" in asked else (TITLE,)), **asked)
        assert "\n" not in str(refused.value)
    unknown = client.write(
        [{"op": "update", "id": "nowhere", "attributes": {"stock": 1}}, {"op": "delete", "id": "no"}]
    )
    assert unknown.unknown == ("nowhere", "no")
    assert client.catalogue_stats()["number"] == number


def test_a_search_for_asyncio_writes_too(live, own):
    async def write() -> tuple[int, dict[str, Any]]:
        async with AsyncSearchClient(live.urls.grpc, write_key=LiveFolder.of(own.folder).key(), timeout_s=60) as client:
            written = await client.upsert([{"id": "for-asyncio", "title": TITLE}])
            assert (await client.delete(["for-asyncio", "nowhere"])).unknown == ("nowhere",)
            return written.number, await client.catalogue_stats()

    number, stats = asyncio.run(write())
    assert stats["number"] == number + 1


def test_a_bad_operation_writes_nothing_of_its_request(client):
    number = client.catalogue_stats()["number"]
    with pytest.raises(
        InvalidRequestError, match=r"operation 2 of 2, product 'y': the title of an upsert must be text"
    ):
        client.upsert([{"id": "x", "title": "good"}, {"id": "y"}])
    assert client.catalogue_stats()["number"] == number
