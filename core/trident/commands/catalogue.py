"""``trident catalogue``: change the catalogue of a server that was started with ``trident serve --live``."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trident.commands.output import need, print_json, say
from trident.commands.promote import unload
from trident.errors import ConfigError, DataError, LiveError, ServerError, TridentError

if TYPE_CHECKING:
    from trident.generation.generation import Generation
    from trident.promotion.promotion import Gate

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Change the catalogue of a server that runs with --live.",
)
STANDARD_INPUT = Path("-")
SAID_EVERY = 20_000  # operations between two lines of progress
STEP = 1000

Url = Annotated[str, typer.Option(help="HOST:PORT of the server.")]
Protocol = Annotated[Literal["grpc", "http"], typer.Option(help="What the port speaks.")]
Generations = Annotated[Path, typer.Option(help="The folder of generations, whose write key is taken.")]
WriteKey = Annotated[Path | None, typer.Option(help="File of the write key, where that folder is elsewhere.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Products = Annotated[Path, typer.Argument(help="Table with product_id and product_title, or - for JSON lines.")]
Changes = Annotated[Path, typer.Argument(help="Table with product_id and what changes, or - for JSON lines.")]

DEFAULT_GENERATIONS, DEFAULT_URL, DEFAULT_TIMEOUT = Path("generations"), "127.0.0.1:8001", 60.0


@app.command()
def upsert(
    file: Products,
    url: Url = DEFAULT_URL,
    protocol: Protocol = "grpc",
    generations: Generations = DEFAULT_GENERATIONS,
    write_key: WriteKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    json: Json = False,
) -> None:
    """Put products into the catalogue: new ones, and others that replace those of the same id."""
    with _client(url, protocol, generations, write_key, timeout) as client:
        _write(client, ({"op": "upsert", **row} for row in _rows(client, file, title=True)), json)


@app.command()
def update(
    file: Changes,
    url: Url = DEFAULT_URL,
    protocol: Protocol = "grpc",
    generations: Generations = DEFAULT_GENERATIONS,
    write_key: WriteKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    json: Json = False,
) -> None:
    """Change attributes of products, such as price and stock."""
    with _client(url, protocol, generations, write_key, timeout) as client:
        _write(client, ({"op": "update", **row} for row in _rows(client, file, title=False)), json)


@app.command()
def delete(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of products.")] = None,
    file: Annotated[Path | None, typer.Option(help="Ids, one a line.")] = None,
    url: Url = DEFAULT_URL,
    protocol: Protocol = "grpc",
    generations: Generations = DEFAULT_GENERATIONS,
    write_key: WriteKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    json: Json = False,
) -> None:
    """Take products out of the catalogue."""
    if (ids is None or not ids) == (file is None):
        raise ConfigError("delete takes ids or --file FILE, one of both")
    lines = ids or (_lines(file) if file is not None else [])
    rows = ({"op": "delete", "id": line.strip()} for line in lines if line.strip())
    with _client(url, protocol, generations, write_key, timeout) as client:
        _write(client, rows, json)


@app.command()
def sync(
    file: Products,
    holds: Annotated[int, typer.Option(help="The catalogue's number when the dump was made: trident catalogue stats.")],
    max_loss: Annotated[float, typer.Option(help="Share of the catalogue that may vanish, 0 to 1.")] = 0.1,
    url: Url = DEFAULT_URL,
    protocol: Protocol = "grpc",
    generations: Generations = DEFAULT_GENERATIONS,
    write_key: WriteKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    json: Json = False,
) -> None:
    """Make the catalogue equal to a dump; what was touched since the dump was made is left alone."""
    if not 0 <= max_loss <= 1:
        raise ConfigError(f"--max-loss must be 0 to 1, got {max_loss:g}")
    syncing = need("serve", "trident.live.syncing")
    with _client(url, protocol, generations, write_key, timeout) as client:
        given = list(_rows(client, file, title=True))
        generation = client.catalogue_stats()["generation"]
        state, ids = need("serve", "trident.live.preparing").read_state(generations, generation)
        dump = syncing.dump_of(given, state.base.schema)
        rows = syncing.operations_to(state, ids, dump, holds=holds, largest_loss=max_loss)
        _write(client, rows, json, unknown_is_error=False)


@app.command()
def stats(
    url: Url = DEFAULT_URL,
    protocol: Protocol = "grpc",
    generations: Generations = DEFAULT_GENERATIONS,
    write_key: WriteKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    json: Json = False,
) -> None:
    """Say the catalogue's number, for a dump or a backup that is made now, and how full its tail is."""
    with _client(url, protocol, generations, write_key, timeout) as client:
        found = client.catalogue_stats()
    if json:
        print_json(found)
        return
    types = found.pop("attributes", {})
    for name, value in found.items():
        say(f"{name}: {'no' if value is None else value}")
    say(f"attributes: {', '.join(f'{name} {kind}' for name, kind in types.items()) or 'none'}")


@app.command(name="take-over")
def take_over(
    url: Url = DEFAULT_URL,
    protocol: Protocol = "grpc",
    generations: Generations = DEFAULT_GENERATIONS,
    write_key: WriteKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    json: Json = False,
) -> None:
    """Have a server that was started with --follow write from now on; the one that wrote must have ended."""
    with _client(url, protocol, generations, write_key, timeout) as client:
        found = client.take_over()
    if json:
        print_json(found)
    else:
        say(f"{url} writes; the catalogue is at number {found['number']:,}")


@app.command()
def dump(
    file: Annotated[Path, typer.Argument(help="To be written, .jsonl; trident export --catalogue takes it.")],
    url: Url = DEFAULT_URL,
    protocol: Protocol = "grpc",
    generations: Generations = DEFAULT_GENERATIONS,
    write_key: WriteKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    json: Json = False,
) -> None:
    """Write the whole catalogue to a file, and say its number: what an export needs to empty the tail."""
    with _client(url, protocol, generations, write_key, timeout) as client:
        generation = client.catalogue_stats()["generation"]
    state, ids = need("serve", "trident.live.preparing").read_state(generations, generation)
    products = need("serve", "trident.live.dump").write_dump(state, ids, file)
    if json:
        print_json({"number": state.number, "products": products, "file": str(file)})
    else:
        say(f"wrote {products:,} products to {file}: trident export RUN --catalogue {file} --holds {state.number}")


@app.command()
def compact(
    generations: Generations = DEFAULT_GENERATIONS,
    http_port: Annotated[int, typer.Option(help="HTTP port of the running server.")] = 8000,
    promote: Annotated[bool, typer.Option("--promote", help="Serve it, through the gate.")] = False,
    retain: Annotated[
        int | None, typer.Option(help="With --promote: then remove all but so many of the newest compacted ones.")
    ] = None,
    grace: Annotated[float, typer.Option(help="With --promote: seconds until what served before is unloaded.")] = 60.0,
    threads: Annotated[int, typer.Option(help="Cores; 1 gives the same bytes each time.")] = 1,
    keep_days: Annotated[
        float, typer.Option(help="How long versions, and those of deleted products, outlive their last operation.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Make a generation of the one that serves and all that came since: its tail is empty."""
    if not keep_days >= 0:
        raise ConfigError(f"--keep-days must be >= 0, got {keep_days:g}")
    running, compaction = need("serve", "trident.probe.running"), need("serve", "trident.compaction.compact")
    retention = need("serve", "trident.promotion.retention")
    if retain is not None:
        retention.check_keep(retain)
    need("serve", "trident.promotion.promotion").check_grace(grace)
    quality = need("serve", "trident.quality.measuring")
    serving = running.find_running(generations, http_port).serving()
    makers = compaction.Makers(quality.measure_quality, kept_days=keep_days, threads=threads, report=say)
    made = compaction.compact(generations, serving, makers)
    say(f"generation {made.id}, serial {made.serial}: {made.manifest.products:,} products up to {made.holds.number:,}")
    if promote:
        _promote_compacted(generations, http_port, serving.id, made.id)
        unload(generations, http_port, grace_s=grace)
        if retain is not None:
            for removed in retention.prune(generations, keep=retain, only=compaction.is_compacted):
                say(f"removed generation {removed} from disk")
    if json:
        print_json({"generation": made.id, "holds": made.holds.number, "promoted": promote})


def _promote_compacted(generations: Path, http_port: int, began: str, made: str) -> None:
    """Promote a compacted generation, unless another one serves meanwhile: that would undo its promotion."""
    _require_serving(need("serve", "trident.probe.running").find_running(generations, http_port).serving(), began, made)
    promotion, gating = need("serve", "trident.promotion.promotion"), need("serve", "trident.promotion.gating")
    gate = _only_over(gating.gate_of(generations, http_port, overrides=[], force=None), began, made)
    promotion.promote(generations, http_port, made, promotion.PromoteOptions(gate=gate), report=say)
    compactions = need("serve", "trident.live.compactions").Compactions
    compactions().succeeded(need("serve", "trident.journal.folder").LiveFolder.of(generations))
    say(f"generation {made} serves; trident promote or rollback go back")


def _require_serving(serving: Generation, began: str, made: str) -> None:
    """Raise unless a generation that serves is the one that another was made of."""
    if serving.id != began:
        raise LiveError(
            f"generation {made} was made of {began} and is not promoted: {serving.id} serves meanwhile; compact again"
        )


def _only_over(gate: Gate, began: str, made: str) -> Gate:
    """Return a gate that looks again: another promotion may end between a look and this one, which holds the lock."""

    def over(candidate: Generation, serving: Generation) -> str | None:
        _require_serving(serving, began, made)
        return gate(candidate, serving)

    return over


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="To be made.")],
    generations: Generations = DEFAULT_GENERATIONS,
    json: Json = False,
) -> None:
    """Copy what is committed of the log, while everything goes on."""
    live = need("serve", "trident.journal.folder").LiveFolder.of(generations)
    last = need("serve", "trident.journal.backup").back_up(live, folder)
    if json:
        print_json({"number": last, "folder": str(folder)})
    else:
        say(f"copied the log up to number {last:,} to {folder}; to restore, put it in the place of {live.log}")


def _lines(file: Path) -> list[str]:
    """Return the lines of a text file."""
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"--file {file} must be a file with an id a line, got none") from error
    except UnicodeDecodeError as error:
        raise DataError(f"--file {file} must be text in UTF-8, got other bytes ({error})") from error


@contextmanager
def _client(url: str, protocol: str, generations: Path, write_key: Path | None, timeout: float) -> Iterator[Any]:
    """Yield a client with the write key, whose errors end the command in a line."""
    package = need("serve", "trident_client")
    key = need("serve", "trident.journal.folder").LiveFolder.of(generations).key(write_key)
    try:
        with package.SearchClient(url, protocol=protocol, timeout_s=timeout, write_key=key) as client:
            yield client
    except package.InvalidRequestError as error:
        raise DataError(str(error)) from error
    except package.ClientError as error:
        raise ServerError(str(error)) from error


def _write(client: Any, rows: Iterable[dict[str, Any]], json: bool, *, unknown_is_error: bool = True) -> None:
    """Send operations a thousand at a time, and say what became of them."""
    waiting, done, number = iter(rows), 0, None
    left: dict[str, list[str]] = {"stale": [], "touched": [], "unknown": []}
    sent = 0
    written_by = need("serve", "trident_client.catalogue")
    try:
        while part := list(islice(waiting, STEP)):
            written = client.write(part)
            number, done = written.number, done + written.done
            for name, ids in left.items():
                ids += getattr(written, name)
            sent += len(part)
            if sent % SAID_EVERY == 0:
                say(f"{sent:,} operations sent, the catalogue is at number {number:,}", style="dim")
    except (written_by.ClientError, TridentError) as error:
        written_by.tell_answered(error, sent, done, number or 0)
        raise
    counts = {name: len(ids) for name, ids in left.items()}
    if json:
        print_json({"number": number, "done": done, **left})
    else:
        others = "".join(f", {count:,} {name}" for name, count in counts.items() if count)
        place = "nothing to do" if number is None else f"the catalogue is at number {number:,}"
        say(f"{done:,} operations done{others}; {place}")
    if left["unknown"] and unknown_is_error:
        raise LiveError(
            f"{counts['unknown']:,} of {sent:,} products are not in the catalogue, '{left['unknown'][0]}' first; the "
            "others were written"
        )


def _rows(client: Any, file: Path, *, title: bool) -> Iterator[dict[str, Any]]:
    """Yield id, title and attributes of each product of a table, or of JSON lines from standard input."""
    if file == STANDARD_INPUT:
        yield from _json_rows(title=title)
        return
    reading = need("serve", "trident.data.reading").Reading()
    if title:
        found = need("serve", "trident.data.catalogue").read_catalogue(file, reading, attributes=True)
        ids, titles, others = found.product_ids, found.titles, found.attributes
    else:
        tables = need("serve", "trident.data.tables")
        others = tables.read_table(file, reading, required=("product_id",), known=("product_id",), others=True)
        ids, titles = others["product_id"].to_pylist(), None
        others = others.drop_columns(["product_id"])
    types = client.catalogue_stats()["attributes"]
    rows = need("serve", "trident.attributes.rows").attributes_of_rows(others, types, file)
    if titles is None:
        for product, attributes in zip(ids, rows if others.num_columns else repeat({}), strict=False):
            yield {"id": product, "attributes": attributes}
        return
    for product, name, attributes in zip(ids, titles, rows if others.num_columns else repeat({}), strict=False):
        kept = {field: value for field, value in attributes.items() if value is not None}
        yield {"id": product, "title": name, "attributes": kept}


def _json_rows(*, title: bool) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_standard_input(), start=1):
        if not line.strip():
            continue
        try:
            row = json_text.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"line {number} of standard input must be a JSON object, got none ({error})") from error
        if not isinstance(row, dict) or "product_id" not in row or (title and "product_title" not in row):
            wanted = "product_id and product_title" if title else "product_id"
            raise DataError(f"line {number} of standard input must be a JSON object with {wanted}, got {line[:60]!r}")
        made = {"id": row.pop("product_id")}
        if title:
            made["title"] = row.pop("product_title")
        if "version" in row:
            made["version"] = row.pop("version")
        yield made | {"attributes": row}


def _standard_input() -> Iterator[str]:
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise DataError(f"standard input must be text in UTF-8, got other bytes ({error.reason})") from error
