"""``trident promote``: a running server goes to another generation without a failed request."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trident.commands.gate_table import gate_table
from trident.commands.output import need, print_json, say, say_table
from trident.errors import TridentError
from trident.quality.gate_report import GateError

if TYPE_CHECKING:
    from trident.promotion.promotion import Promotion


def command(
    generation: Annotated[str, typer.Argument(help="Id of the generation to serve.")],
    generations: Annotated[Path, typer.Option(help="The folder of generations.")] = Path("generations"),
    http_port: Annotated[int, typer.Option(help="HTTP port of the running server.")] = 8000,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="Overrule the gate; the reason is kept in the manifest.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="gate.KEY=VALUE", help="Change what the gate demands.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the generation loaded that served before.")] = False,
    grace: Annotated[float, typer.Option(help="Seconds before it is unloaded.")] = 10.0,
    retain: Annotated[
        int | None, typer.Option(metavar="N", help="Then remove all but the newest N generations from disk.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make a running server serve another generation; after any failure the old one serves on."""
    promotion = need("serve", "trident.promotion.promotion")
    gating = need("serve", "trident.promotion.gating")
    retention = need("serve", "trident.promotion.retention")
    promotion.check_grace(grace)
    if retain is not None:
        retention.check_keep(retain)
    gate = gating.gate_of(generations, http_port, overrides=setting or [], force=force)
    options = promotion.PromoteOptions(gate=gate)
    try:
        made: Promotion = promotion.promote(generations, http_port, generation, options, report=say)
    except GateError as error:
        say_table(gate_table(error.report))
        raise
    tell(made, print_document=json)
    if not keep:
        unload(generations, http_port, grace_s=grace)
    if retain is not None:
        for removed in retention.prune(generations, keep=retain):
            say(f"removed generation {removed} from disk")


def tell(made: Promotion, *, print_document: bool) -> None:
    """Say what a switch brought."""
    if print_document:
        print_json(dataclasses.asdict(made))
    say(
        f"generation {made.generation} serves, {made.previous} did before: switched in {made.switch_ms:.1f} ms, "
        f"{made.asked} golden queries answered as stored, {made.seconds:.1f} s in all"
    )
    if made.forced is not None:
        say(f"the gate was overruled: {made.forced}")


def unload(generations: Path, http_port: int, *, grace_s: float) -> None:
    """Unload what does not serve; a failure of that does not make the promotion one."""
    promotion = need("serve", "trident.promotion.promotion")
    if grace_s:
        say(f"unloading what does not serve in {grace_s:g} s")
    try:
        for serial in promotion.retire(generations, http_port, grace_s=grace_s):
            say(f"unloaded version {serial}")
    except TridentError as error:
        say(f"the promotion is done, but what served before may still be loaded: {error}")
