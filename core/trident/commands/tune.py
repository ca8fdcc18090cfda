"""``trident tune``: the settings with the highest throughput on this machine, for the servers of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trident.commands.options import (
    Column,
    Count,
    Encoding,
    GenerationId,
    Generations,
    Json,
    Mix,
    Out,
    Queries,
    end_with_server,
)
from trident.commands.output import figures_table, need, print_json, print_table, say
from trident.data.reading import QUERY_COLUMNS, parse_columns
from trident.rights import require_writable

if TYPE_CHECKING:
    from trident.bench.tuning_run import TuneReport


def command(
    queries: Queries,
    column: Column = None,
    encoding: Encoding = None,
    generations: Generations = Path("generations"),
    generation: GenerationId = None,
    minutes: Annotated[float, typer.Option(help="That it may take; Ctrl-C ends it sooner.")] = 10.0,
    p99_ms: Annotated[
        float | None, typer.Option(help="Bound on the 99th percentile of latency; 1.25 times the present by default.")
    ] = None,
    clients: Annotated[int, typer.Option(help="Clients that wait for their answers.")] = 32,
    knob: Annotated[list[str] | None, typer.Option(help="Change this one only; several times: these.")] = None,
    window: Annotated[float, typer.Option(help="Seconds of a window; a measurement is three, a final one six.")] = 1.5,
    rounds: Annotated[int, typer.Option(help="Final rounds at most.")] = 10,
    count: Count = 10_000,
    mix: Mix = "distinct",
    out: Out = None,
    json: Json = False,
) -> None:
    """Find the fastest serving settings for this machine; trident serve takes them from then on."""
    end_with_server()
    runs, searches = (need("bench", f"trident.bench.{name}") for name in ("tuning_run", "tuning_search"))
    knobs = {} if knob is None else {"knobs": tuple(knob)}
    config = runs.TuneConfig(
        queries=queries,
        columns=parse_columns(column or [], QUERY_COLUMNS),
        encoding=encoding,
        generations=generations,
        generation=generation,
        clients=clients,
        search=searches.SearchConfig(limit_s=minutes * 60, window_s=window, rounds=rounds, p99_ms=p99_ms),
        count=count,
        mix=mix,
        **knobs,
    )
    if out is not None:
        require_writable(out)
    report = runs.run_tuning(need("bench", "trident.bench.perf_analyzer").find_perf_analyzer(), config, say=say)
    if out is not None:
        report.save(out)
    if json:
        print_json(report.to_json())
    else:
        print_report(report)


def print_report(report: TuneReport) -> None:
    """Print what was tried and measured as tables, and what came of it as a line."""
    tried = figures_table("Tried", "settings", "searches/s", "p50 ms", "p99 ms", "encoder batch", "MiB")
    for trial in report.trials:
        figures = trial.figures
        if trial.round is None and figures is not None:
            batch = "" if figures.mean_encoder_batch is None else f"{figures.mean_encoder_batch:.2f}"
            tried.add_row(
                str(trial.tuning), f"{figures.searches_per_s:.1f}", f"{figures.p50_ms:.2f}", f"{figures.p99_ms:.2f}",
                batch, f"{figures.memory_mib:.0f}",
            )  # fmt: skip
        elif trial.round is None:
            tried.add_row(str(trial.tuning), "failed", "", "", "", "")
    finals = figures_table(
        "Finals (medians over rounds; ratio to the settings as exported in the same round)",
        "settings", "searches/s", "lowest to highest", "ratio", "rounds won", "by chance", "p50 ms", "p99 ms",
    )  # fmt: skip
    for each in report.verdict.finalists:
        finals.add_row(
            str(each.tuning), f"{each.searches_per_s:.1f}", f"{each.lowest_per_s:.1f} to {each.highest_per_s:.1f}",
            f"{each.ratio:.2f}", str(each.won), f"{each.chance:.3f}", f"{each.p50_ms:.2f}", f"{each.p99_ms:.2f}",
        )  # fmt: skip
    print_table(tried)
    if report.verdict.finalists:
        print_table(finals)
    exported = ", ".join(f"{name} {value}" for name, value in report.exported.items())
    say(f"as exported: {exported}")
    verdict = report.verdict
    if report.written is None:
        say(f"not decided: {verdict.reason}; nothing was written, give it more --minutes", style="yellow")
    else:
        say(f"best: {verdict.best} ({verdict.reason}); written to {report.written}, trident serve takes it")
