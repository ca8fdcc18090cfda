"""``trident report``: the page of a run, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trident.commands.output import need, say
from trident.rights import require_writable_folder


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    figures: Annotated[Path | None, typer.Option(help="Also write the figures here, as SVG files.")] = None,
) -> None:
    """Make the report page of a run anew, from what lies in its folder."""
    need("train", "trident_train.report.results").read_results(run)  # refuses before anything draws
    if figures is not None:
        require_writable_folder(figures)
    report_page = need("train", "trident_train.report.page")
    say(f"wrote {report_page.write_report_page(run)}")
    if figures is not None:
        report_figures = need("train", "trident_train.report.figures")
        paths = report_figures.save_figures(run, figures)
        say(f"wrote {len(paths)} figures into {figures}")
