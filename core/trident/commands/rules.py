"""``trident rules``: merchandisers' rules, which hold without an export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trident.commands.options import require_folder
from trident.commands.output import need, print_json, say
from trident.errors import DataError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Synonyms, pins, exclusions, boosts and redirects, which hold without an export.",
)

File = Annotated[Path, typer.Argument(help="A TOML file of rules.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Generations = Annotated[Path, typer.Option(help="The folder of generations.")]


@app.command()
def check(
    file: File,
    generations: Annotated[
        Path | None, typer.Option(help="The folder of generations, whose products and fields are asked.")
    ] = None,
    generation: Annotated[
        str | None, typer.Option(help="An id in it; otherwise the one that serves, or the newest.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what is wrong with rules, a line each; exit 0 when nothing is, 1 when something is."""
    applying = need("serve", "trident.rules.applying")
    found = need("serve", "trident.rules.ruleset").read_rules(file)
    of = None
    if generations is not None or generation is not None:
        folder = Path("generations") if generations is None else generations
        if generation is None:
            of = applying.serving_generation(folder)
        else:
            of = need("serve", "trident.generation.generation").generation_by_id(folder, generation)
    checked = applying.check_rules(found, of)
    lines = [*checked.faults, *checked.notes]
    if json:
        told = {"faults": checked.faults, "notes": checked.notes, "generation": None if of is None else of.id}
        print_json({"version": found.rules.version, **found.rules.counts(), **told})
    for line in lines:
        say(line)
    if lines:
        raise DataError(f"rules {file} must be right, got {len(lines)} lines above")
    say(f"rules {file}: {_summary(found.rules)}, version {found.rules.version}")


@app.command()
def apply(file: File, generations: Generations = Path("generations"), json: Json = False) -> None:
    """Have rules hold in the place of those before: for every search that is asked from now on. An empty file: none."""
    applying = need("serve", "trident.rules.applying")
    found = need("serve", "trident.rules.ruleset").read_rules(file)
    made, checked = applying.apply_rules(generations, found, file.name)
    for line in checked.notes:
        say(f"note: {line}")
    if json:
        print_json({"version": made.version, "applied_at": made.applied_at, **made.rules.counts()})
    say(f"rules {file} hold: {_summary(made.rules)}, version {made.version}")


@app.command()
def show(generations: Generations = Path("generations"), json: Json = False) -> None:
    """Say which rules hold."""
    require_folder(generations)
    published = need("serve", "trident.rules.published")
    found = published.read_published(published.published_path(generations))
    if json:
        print_json(None if found is None else need("serve", "trident.config").to_table(found))
        return
    if found is None:
        say("no rules hold")
        return
    say(f"{_summary(found.rules)}, version {found.version}, of {found.source}, since {found.applied_at}")


def _summary(rules: Any) -> str:
    return ", ".join(f"{count} {name}" for name, count in rules.counts().items()) or "no rules"
