"""``trident verify``: does a running server give the answers that its generation gave when it was exported?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from trident.commands.output import need, print_json, say
from trident.errors import GenerationError


def command(
    url: Annotated[str, typer.Option(help="HOST:PORT of the server's HTTP.")] = "127.0.0.1:8000",
    generations: Annotated[Path, typer.Option(help="The folder of generations.")] = Path("generations"),
    files: Annotated[
        bool, typer.Option("--files", help="Hold every byte of the generation's files against its manifest, too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Ask a running server its golden queries; exit 0 when every answer is right, 1 when one is not."""
    golden_check = need("serve", "trident.probe.golden_check")
    report = golden_check.check_serving(generations, url)
    if files:
        found = need("serve", "trident.generation.generation").generation_by_id(generations, report.generation)
        found.verify_files()
        say(f"generation {found.id}: {len(found.manifest.files)} files are as they were exported")
    if json:
        print_json({**dataclasses.asdict(report), "passed": report.passed, "url": url})
    if report.passed:
        say(f"generation {report.generation}: {report.asked} golden queries answered as stored")
        return
    for line in report.differences:
        say(f"  {line}")
    raise GenerationError(
        f"the server at {url} must answer the {report.asked} golden queries of generation {report.generation} as "
        f"stored, got {len(report.differences)} differences: return with trident rollback, or restart trident serve"
    )
