"""``trident export``: make a generation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from trident.commands.gate_table import gate_table
from trident.commands.output import (
    from_set,
    messages,
    need,
    print_json,
    print_table,
    quiet_transformers,
    say,
    say_table,
)
from trident.config import to_table
from trident.progress import progress_bar
from trident.quality.gate_report import GateError
from trident.rights import require_writable_folder

SHOWN_WEAK = 8  # validation queries whose answer is weak


def command(
    run: Annotated[Path, typer.Argument(help="A run folder of trident train.")],
    catalogue: Annotated[Path, typer.Option(help="The products: product_id, product_title and whatever else.")],
    out: Annotated[Path, typer.Option(help="The folder of generations.")],
    reranker: Annotated[
        Path | None, typer.Option(help="A run folder of a reranker: the second stage.", show_default=False)
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="Embeddings made by trident embed; otherwise made here.", show_default=False)
    ] = None,
    holds: Annotated[
        int | None,
        typer.Option(help="The live catalogue's number when the products' file was made: trident catalogue stats."),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="What people asked, for suggestions: a query log, a folder of generations, or a table with query and "
            "count.",
            show_default=False,
        ),
    ] = None,
    block_list: Annotated[
        Path | None, typer.Option(help="Words and phrases, one a line, that no suggestion holds.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Such as index.ef=200 or engine.library=tensorrt_rtx."),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=TYPE",
            help="The type of a column that is not guessed: keyword, number, boolean, list, display or none.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The Qdrant that searches the products, such as http://10.0.0.5:6333."),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Let a generation through that the gate refuses; kept in its manifest."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Merge, convert, prove, embed, index, assemble and judge a generation; print its id."""
    job = need("export", "trident_export.job")
    parse_attributes = need("export", "trident.attributes.inference").parse_attributes
    named = [] if store is None else [f'store.address="{store}"']
    config = from_set(need("export", "trident_export.config").ExportConfig, [*named, *(set_ or [])])
    if attribute:
        asked = {**config.attributes, **parse_attributes(attribute)}
        config = dataclasses.replace(config, attributes=asked)
    asked = {"reranker": reranker, "queries": queries, "block_list": block_list}
    order = job.ExportOrder(run, catalogue, out, config, vectors=vectors, holds=holds, force=force, **asked)
    require_writable_folder(out)
    inputs = need("export", "trident_export.inputs").read_inputs(order)
    pipeline = need("export", "trident_export.pipeline")  # now that what is asked for can be: it imports PyTorch
    quiet_transformers()
    try:
        generation = pipeline.export_generation(
            order,
            inputs=inputs,
            report=lambda stage: say(f"{stage.stage}: {stage.proof} ({stage.seconds:.1f} s)"),
            embedding=lambda total: progress_bar(messages, "embedding", total),
            building=lambda total: progress_bar(messages, "index", total),
        )
    except GateError as error:
        say_table(gate_table(error.report))
        raise
    manifest = to_table(generation.manifest)
    if json:
        print_json({name: value for name, value in manifest.items() if name != "files"})
        return
    print_table(_stage_table(manifest))
    if line := weak_line(manifest["ranking"]):
        say(line)
    if config.store is not None:
        say(f"its products are searched in {config.store.address}: trident cluster load {generation.id}")
    say(f"generation {generation.id}, serial {generation.serial}, in {generation.folder}")


def weak_line(ranking: dict[str, Any]) -> str:
    """Return which validation queries have a weak answer; nothing where none has."""
    weak: list[str] = ranking.get("chosen", {}).get("weak", {}).get("weak_queries", [])
    if not weak:
        return ""
    named = ", ".join(f"'{query}'" for query in weak[:SHOWN_WEAK])
    more = ", …" if len(weak) > SHOWN_WEAK else ""
    return f"weak answers, {len(weak):,} of the validation queries (all in ranking.json): {named}{more}"


def _stage_table(manifest: dict[str, Any]) -> Table:
    table = Table(title=f"generation {manifest['id']}, {manifest['products']:,} products", title_justify="left")
    for name in ("stage", "time", "size", "proof", "speed"):
        table.add_column(name, justify="right" if name in ("time", "size") else "left")
    for row in manifest["stages"]:
        size = f"{row['size_bytes'] / 2**20:,.1f} MiB" if row["size_bytes"] else "-"
        table.add_row(row["stage"], f"{row['seconds']:.1f} s", size, row["proof"], row["speed"])
    return table
