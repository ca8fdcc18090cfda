"""``trident rollback``: a running server returns to the generation that served before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trident.commands import promote
from trident.commands.output import need, say


def command(
    generations: Annotated[Path, typer.Option(help="The folder of generations.")] = Path("generations"),
    http_port: Annotated[int, typer.Option(help="HTTP port of the running server.")] = 8000,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the generation loaded that is rolled back.")] = False,
    grace: Annotated[float, typer.Option(help="Seconds before it is unloaded.")] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Return a running server to the generation that served before; the gate is not asked."""
    promotion = need("serve", "trident.promotion.promotion")
    promotion.check_grace(grace)
    made = promotion.rollback(generations, http_port, report=say)
    promote.tell(made, print_document=json)
    if not keep:
        promote.unload(generations, http_port, grace_s=grace)
