"""The page in headless Chromium over real servers: types, filters, compares, by keyboard, on a phone, dark and light.

CHROMIUM names the browser; else one on PATH is taken, and without one this is skipped. TRIDENT_PICTURES names a folder
for the pictures of the documentation.
"""

from __future__ import annotations

import csv
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from gateways import running
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from programs import BROWSERS, found, needs

from trident.generation.generation import find_generation
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import SearchClient
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
from trident_gateway import GatewayConfig

CHROMIUM = os.environ.get("CHROMIUM") or found(*BROWSERS)
pytestmark = needs("browser", CHROMIUM, "chromium")
SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1440, "height": 900}}
PICTURES = os.environ.get("TRIDENT_PICTURES")
KEY = "a-key-of-some-length"
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" fill="#dfe7ee"/>
<path d="M8 40V28a6 6 0 0 1 12 0v6h24v-6a6 6 0 0 1 12 0v12z" fill="#5b7b99"/></svg>"""


@pytest.fixture(scope="module")
def server(tiny_run: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Return a server of three quarters of the tiny catalogue, with attributes."""
    folder = tmp_path_factory.mktemp("page")
    with (tiny_data / "products.csv").open(newline="", encoding="utf-8") as source:
        rows = [row for number, row in enumerate(csv.DictReader(source)) if number % 4]
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as target:
        writer = csv.writer(target)
        writer.writerow(["product_id", "product_title", "brand", "price", "in_stock", "image_url"])
        for number, row in enumerate(rows):
            title = row["product_title"]
            more = [title.split()[0], number % 71, str(number % 2 == 0).lower()]
            writer.writerow([row["product_id"], title, *more, f"https://shop.example/{number}"])
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
    export_generation(ExportOrder(tiny_run, folder / "products.csv", folder / "generations", config))
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    with serve(find_generation(folder / "generations"), folder / "generations", options) as found:
        yield found


@contextmanager
def page_of(config: GatewayConfig) -> Iterator[str]:
    """Yield the address of a gateway's page."""
    with running(config) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def address(server: TritonServer, tiny_server: TritonServer) -> Iterator[str]:
    """Return the page of the server, which compares with that of the whole catalogue."""
    config = GatewayConfig(url=server.urls.grpc, other_url=tiny_server.urls.grpc, page=True, timeout_s=60)
    with page_of(config) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Open]:
    """Return what opens the page; whatever it asks of other hosts, but for pictures, and says as an error, fails."""
    contexts, faults = [], []

    def answer(route: Route) -> None:
        if route.request.url.startswith("http://127.0.0.1:"):
            route.fallback()
        elif route.request.resource_type == "image" and route.request.url.startswith("https://shop.example/"):
            route.fulfill(body=PICTURE, content_type="image/svg+xml")
        else:
            faults.append(f"asked {route.request.url}")
            route.abort()

    def open_page(*, size: str = "desk", scheme: Any = "light", path: str = "", at: str | None = None) -> Page:
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.route("**/*", answer)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((at or address) + path)
        page.wait_for_selector("body[data-ready], dialog[open], #status.down")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def search(page: Page, query: str) -> None:
    page.fill("#query", query)
    expect(page.locator("#status")).to_contain_text("product")
    page.wait_for_selector("#own-hits .hit")


def titles(page: Page, place: str = "own") -> list[str]:
    return page.locator(f"#{place}-hits .title").all_text_contents()


def test_it_searches_as_one_types_and_shows_the_newest_answer_only(opened: Open) -> None:
    page = opened()
    asked: list[str] = []

    def delay(route: Route) -> None:
        query = json.loads(route.request.post_data or "{}")["query"]
        asked.append(query)
        if query == "navy so":
            time.sleep(0.7)  # overtaken by the next
        route.fallback()

    page.route("**/search", delay)
    page.locator("#query").press_sequentially("navy so", delay=10)
    page.wait_for_timeout(250)
    page.locator("#query").press_sequentially("fa", delay=10)
    expect(page.locator("#own-hits .title").first).to_contain_text("sofa")
    page.wait_for_timeout(900)
    assert asked == ["navy so", "navy sofa"], "one request a pause, not one a letter"
    assert len(titles(page)) == 10
    assert re.search(r"^10 products\.$", page.inner_text("#status"))
    assert re.search(
        r"ms in all, server [\d.]+ ms, (\w+ [\d.]+ ms, )+rest [\d.]+ ms, gateway and network [\d.]+ ms.*generation",
        page.inner_text("#timing"),
    )
    assert page.url.endswith("#q=navy%20sofa")
    page.fill("#query", "")
    expect(page.locator("#status")).to_have_text("Type to search.")
    assert titles(page) == []


def test_stages_are_timed_while_the_box_is_ticked(opened: Open) -> None:
    page = opened()
    search(page, "navy sofa")
    timing = page.locator("#timing")
    expect(timing).to_contain_text(re.compile(r"tokenize [\d.]+ ms, encode [\d.]+ ms, .*dense [\d.]+ ms"))
    expect(page.locator("#stages")).to_be_visible()
    drawn = page.eval_on_selector_all("#stages span", "parts => parts.map(part => part.title)")
    assert {"tokenize", "encode", "dense"} <= {each.partition(":")[0] for each in drawn}
    assert drawn[-1].startswith("gateway and network: ")
    with page.expect_request("**/search") as asked:
        page.uncheck("#timings")
    assert "timings" not in (asked.value.post_data or "")
    expect(timing).to_contain_text(re.compile(r"server [\d.]+ ms, gateway and network [\d.]+ ms"))
    expect(page.locator("#stages")).to_be_hidden()


def test_times_of_another_request_are_not_shown(opened: Open, server: TritonServer) -> None:
    """As the cache answers: what it kept, and whose times these are."""
    page = opened()
    with SearchClient(server.urls.grpc, timeout_s=60) as client:
        kept = client.search("navy sofa", timings=True).details

    def of_cache(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "details": kept})

    page.route("**/search", of_cache)
    search(page, "navy sofa")
    expect(page.locator("#timing")).to_contain_text(re.compile(r"server [\d.]+ ms, from the server.s cache, gateway"))
    expect(page.locator("#timing")).not_to_contain_text("encode")
    expect(page.locator("#stages")).to_be_hidden()


def test_products_are_text_with_scores_attributes_and_pictures(opened: Open) -> None:
    page = opened(path="#q=<b>navy</b> sofa")
    page.wait_for_selector("#own-hits .hit")
    assert page.locator("#own-hits b").count() == 0
    first = page.locator("#own-hits .hit").first
    assert re.fullmatch(r"-?\d\.\d{3}", first.locator(".score span").inner_text())
    assert re.search(r"brand: \w+ · price: \d+ · in_stock: (true|false)", first.locator(".more").first.inner_text())
    assert (first.locator("img").get_attribute("src") or "").startswith("https://shop.example/")


def test_boxes_filter_and_count(opened: Open) -> None:
    page = opened()
    search(page, "navy sofa")
    page.get_by_label("Alba", exact=False).check()
    expect(page.locator("#own-hits .more", has_text="brand: Borex")).to_have_count(0)
    expect(page.get_by_label("Borex", exact=False)).to_be_visible()  # counts leave its own field out
    page.get_by_label("Borex", exact=False).check()
    expect(page.locator("#own-hits .more", has_text="brand: Cindra")).to_have_count(0)
    page.get_by_label("true", exact=False).check()
    expect(page.locator("#own-hits .more", has_text="in_stock: false")).to_have_count(0)
    page.get_by_role("button", name="Clear 3 filters").click()
    expect(page.get_by_role("button", name="Clear")).to_have_count(0)
    assert len(titles(page)) == 10
    page.locator("#query").fill("")
    page.get_by_label("Alba", exact=False).check()
    expect(page.locator("#status")).to_contain_text("10 products of 36")  # nothing asked: all that passes


def test_two_servers_stand_side_by_side(opened: Open) -> None:
    page = opened()
    page.check("#compare")
    search(page, "navy sofa")
    page.wait_for_selector("#other-hits .hit")
    own, other = titles(page), titles(page, "other")
    assert own != other
    for place, title in enumerate(other):
        mark = page.locator("#other-hits .hit").nth(place).locator(".moved").inner_text()
        if title not in own:
            assert mark == "new"
        elif own.index(title) == place:
            assert mark == "same place"
        else:
            assert re.fullmatch(rf"[↑↓] {abs(own.index(title) - place)} (up|down)", mark)
    gone = page.locator("#own-hits .moved").all_text_contents()
    assert len(gone) == len([title for title in own if title not in other])
    assert f"{len(set(own) & set(other))} in both" in page.inner_text("#status")


def test_what_the_server_says_of_an_answer_is_shown(opened: Open) -> None:
    page = opened()

    def changed(route: Route) -> None:
        asked = json.loads(route.request.post_data or "{}")
        spelling = asked["options"].pop("spelling", True)  # which this generation does not know
        reply = route.fetch(post_data=json.dumps(asked))
        found = reply.json()
        found["details"] |= {"weak": True, "probability": [0.875] * len(found["hits"])}
        if spelling:
            found["details"]["corrected"] = "<i>navy</i> sofa"
        route.fulfill(response=reply, json=found)

    page.route("**/search", changed)
    search(page, "nvay sofa")
    expect(page.locator(".note").first).to_contain_text("A weak answer")
    expect(page.locator(".note").nth(1)).to_contain_text("Searched for <i>navy</i> sofa.")
    assert page.locator("#own-hits .score span").first.inner_text() == "88%"
    page.get_by_role("button", name="Search as it was typed").click()
    expect(page.locator(".note")).to_have_count(1)


def test_similar_products_by_keyboard_alone(opened: Open) -> None:
    page = opened()
    page.keyboard.type("navy sofa")  # the search has the focus
    page.wait_for_selector("#own-hits .hit")
    with page.expect_response("**/search"):
        page.keyboard.press("Enter")  # leaves the suggestions for the products
    expect(page.locator("#status")).to_contain_text("products")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#own-hits .hit").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=re.compile("^Products like")).first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("products like")
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("ivory lamp")
    page.wait_for_url("**/#q=ivory%20lamp")
    expect(page.locator("#status")).to_have_text("10 products.")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(page.locator("#query")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.matches('#compare, summary')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_axe_finds_nothing_serious(opened: Open, size: str, scheme: str) -> None:
    page = opened(size=size, scheme=scheme)
    for state in ("empty", "found", "compared"):
        if state == "found":
            search(page, "navy sofa")
            page.locator("#filters summary").click() if size == "phone" else page.get_by_label("Alba").first.check()
            page.wait_for_timeout(300)
        if state == "compared":
            page.locator("#chosen button").click() if size == "desk" else page.locator("#filters summary").click()
            page.check("#compare")
            page.wait_for_selector("#other-hits .hit")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{state}: wider than the screen"
        faults = [each for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
        assert faults == [], state
        if PICTURES and (state, scheme) in (("found", "light"), ("compared", "dark")):
            page.screenshot(path=f"{PICTURES}/page-{size}-{state}-{scheme}.png")


def test_another_server_that_fails_leaves_this_one_s_answers(opened: Open) -> None:
    page = opened()
    page.check("#compare")
    search(page, "navy sofa")
    page.get_by_label("Alba", exact=False).check()  # which the other does not know
    expect(page.locator(".note")).to_contain_text("The other server: filter has no field 'brand'")
    expect(page.locator("#own-hits .more", has_text="brand: Borex")).to_have_count(0)
    assert len(titles(page)) == 10


def test_a_server_that_is_not_there_is_said_in_a_sentence(opened: Open, browser: Browser) -> None:
    with page_of(GatewayConfig(url="127.0.0.1:9", page=True, timeout_s=5)) as address:
        page = opened(at=address)
        expect(page.locator("#status")).to_contain_text("no server answers at 127.0.0.1:9")
        page.route("**/about", lambda route: route.abort())
        page.fill("#query", "sofa")
        expect(page.locator("#status")).to_have_text("The gateway does not answer. Is it running?")
        page.unroute("**/about")
        page.fill("#query", "sofas")
        expect(page.locator("#status")).to_contain_text("no server answers at 127.0.0.1:9")


def test_a_server_that_comes_later_is_searched(opened: Open) -> None:
    """What the page knows of the catalogue it asks for with the first search then, filters and all."""
    page = opened()
    page.route("**/about", lambda route: route.fulfill(status=503, json={"error": {"message": "not yet"}}))
    page.reload()
    expect(page.locator("#status")).to_have_text("not yet")
    page.unroute("**/about")
    search(page, "navy sofa")
    expect(page.get_by_label("Alba", exact=False).first).to_be_visible()
    page.goto(page.url.partition("#")[0] + "#q=50%25%")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.input_value("#query") == "50%25%"


def test_a_key_is_asked_for(opened: Open, server: TritonServer) -> None:
    with page_of(GatewayConfig(url=server.urls.grpc, page=True, timeout_s=60, api_key=KEY)) as address:
        page = opened(at=address)
        for key in ("another-key-of-some-length", "Schlüssel → eines anderen"):
            page.fill("#key", key)
            page.keyboard.press("Enter")
            page.wait_for_selector("dialog[open]")
            expect(page.locator("#status")).to_contain_text("an API key is needed")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        search(page, "navy sofa")
        assert page.request.get(f"{address}page/nothing.js").status == 404
        policy = page.request.get(address).headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'" in policy
