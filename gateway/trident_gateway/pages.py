"""The page for people: its files, and what it asks beside a search. It is put together from nothing of another host."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from trident_client import AsyncSearchClient, ClientError
from trident_gateway.attributes import Remembered
from trident_gateway.forms import About, Attribute, Found, SearchForm
from trident_gateway.searching import timed_search

FOLDER = Path(__file__).with_name("page")
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Scripts, styles and requests are this host's; pictures are where the catalogue says that they are.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: http: "
        "https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI, client: AsyncSearchClient, other: AsyncSearchClient | None) -> None:
    """Add the page's addresses to the gateway.

    Args:
        app: The gateway.
        client: Of the server.
        other: Of the one to compare with; None: none.
    """
    own, others = Remembered(client), None if other is None else Remembered(other)
    files = {file.name: file for file in FOLDER.iterdir() if file.suffix in KINDS}

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file(files["index.html"])

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, f"the page has no file {name[:60]!r}")
        return _file(files[name])

    @app.get("/about", response_model=About)
    async def about() -> About:
        """Say what there is to show: attributes, another server, completions."""
        return About(
            attributes=await own.get(),
            other=await _attributes_of_other(others),
            suggests=await _suggests(client),
        )

    if other is not None:
        compared = other

        @app.post("/other/search", response_model=Found)
        async def search_other(form: SearchForm) -> Response:
            """Find products for a query at the server that is compared with."""
            return await timed_search(compared, form)


async def _attributes_of_other(other: Remembered | None) -> list[Attribute] | None:
    """Return the attributes of the other server; none where it does not answer, which a search will say."""
    if other is None:
        return None
    try:
        return await other.get()
    except ClientError:
        return []


async def _suggests(client: AsyncSearchClient) -> bool:
    """Return whether the generation in service has suggestions."""
    try:
        await client.suggest("a", k=1)
    except ClientError:
        return False
    return True


def _file(file: Path) -> FileResponse:
    return FileResponse(file, media_type=KINDS[file.suffix], headers=HEADERS)
