"""What holds of operations on a live catalogue in every form of the client: they carry the key, and are sent once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from trident_client import (
    AsyncSearchClient,
    Behaviour,
    CatalogueFullError,
    ClientError,
    InvalidRequestError,
    SearchClient,
    ServerUnavailableError,
    UnknownOutcomeError,
)

SOFA = ("search", ("sofa",))
WRITE = ("upsert", ([{"id": "a", "title": "A"}, {"id": "b", "title": "B"}],))


def test_what_is_written_comes_back_and_carries_the_key(triton: Any, form: Any) -> None:
    behaviour = Behaviour(headers={"X-Shop": "one"})
    written, stats = form.asked(triton, WRITE, ("catalogue_stats", ()), write_key="secret", behaviour=behaviour)
    assert (written.number, written.done, written.stale) == (3, 1, ("b",))
    assert stats["number"] == 3
    assert [each["headers"]["trident-write-key"] for each in triton.seen] == ["secret", "secret"]
    assert [each["headers"]["x-shop"] for each in triton.seen] == ["one", "one"]


def test_what_is_written_is_sent_once(triton: Any, form: Any) -> None:
    triton.orders.append("loading")
    with pytest.raises(ServerUnavailableError):
        form.asked(triton, WRITE, write_key="secret", behaviour=Behaviour(retries=5, hedge_after_s=0.01))
    triton.orders.append(0.3)
    form.asked(triton, WRITE, write_key="secret", behaviour=Behaviour(hedge_after_s=0.01))
    assert len(triton.seen) == 2


def test_what_is_written_is_not_sent_again_where_a_kept_connection_ends(triton: Any, http_form: Any) -> None:
    """The server may have written it: sent again, it would undo what another wrote meanwhile."""
    triton.orders.extend([None, "hangs up"])
    with pytest.raises(ServerUnavailableError, match=r"no server answers at"):
        http_form.asked(triton, SOFA, WRITE, write_key="secret", behaviour=Behaviour(retries=5))
    assert len(triton.seen) == 2
    triton.orders.extend([None, "hangs up"])
    assert http_form.asked(triton, SOFA, SOFA)[1].hits  # a search is sent again


def test_what_is_written_goes_out_where_a_kept_connection_ended_before(triton: Any, http_form: Any) -> None:
    async def by_tasks() -> Any:
        async with AsyncSearchClient(url, write_key="secret") as client:
            await client.search("sofa")
            time.sleep(0.2)  # in which the event loop sees nothing
            return await client.upsert(*WRITE[1])

    triton.orders.append("leaves")
    url = http_form.url(triton.ports["http"])
    if http_form.is_async:
        written = asyncio.run(by_tasks())
    else:
        with SearchClient(url, write_key="secret") as client:
            client.search("sofa")
            time.sleep(0.2)
            written = client.upsert(*WRITE[1])
    assert written.number == 3
    assert len(triton.seen) == 2


BEFORE = "after 2,000 operations were answered, 2 of them done, the catalogue at number 3: "


@pytest.mark.parametrize(
    ("order", "kind", "message"),
    [
        ("third", InvalidRequestError, BEFORE + "operation 2,003, product 'p2': no field 'operation 1 of 2'"),
        (
            "twice",
            InvalidRequestError,
            BEFORE + "once in a request, got 'p' as operation 2,003 and 2,007: send the last",
        ),
        ("full", CatalogueFullError, BEFORE + "said so"),
        ("unknown", UnknownOutcomeError, BEFORE + "said so"),
    ],
)
def test_the_error_of_a_later_thousand_says_what_became_of_those_before(
    triton: Any, form: Any, order: str, kind: type[ClientError], message: str
) -> None:
    triton.orders.extend([None, None, order])
    products = [{"id": f"p{row}", "title": "A"} for row in range(2500)]
    with pytest.raises(ClientError) as caught:
        form.asked(triton, ("upsert", (products,)), write_key="secret")
    assert (type(caught.value), str(caught.value)) == (kind, message)
    assert len(triton.seen) == 3
    triton.orders.append(order)
    with pytest.raises(kind, match=r"^(operation 3 of 500|once in a request|said so)"):
        form.asked(triton, ("upsert", (products[:500],)), write_key="secret")
    with pytest.raises(InvalidRequestError, match=r"^after 1,000 operations .*: upsert takes mappings .* place 1201$"):
        form.asked(triton, ("upsert", ([*products[:1200], "p"],)), write_key="secret")


def test_a_key_that_is_no_header_is_refused(triton: Any, form: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"write_key must be a line of ASCII"):
        form.asked(triton, WRITE, write_key="a\nb")
    assert triton.seen == []


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("delete", "B01", r"^delete takes a list of ids, got 'B01'$"),
        ("delete", {"id": "B01"}, r"^delete takes a list of ids, got \{'id': 'B01'\}$"),
        ("delete", [5], r"^delete takes mappings with an id, got 5 in place 1$"),
        ("upsert", ["B01"], r"^upsert takes mappings with an id, got 'B01' in place 1$"),
        ("upsert", {"id": "a", "title": "A"}, r"^upsert takes a list of mappings, got one: \{'id': 'a'"),
        ("update", [{"id": "a"}, None], r"^update takes mappings with an id, got None in place 2$"),
    ],
)
def test_what_is_no_list_of_products_is_refused_before_it_is_sent(
    triton: Any, form: Any, name: str, given: Any, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        form.asked(triton, (name, (given,)), write_key="secret")
    assert triton.seen == []
