"""``trident bench``: perf_analyzer against a served generation, beside the same parts in one process."""

from __future__ import annotations

import statistics
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
from trident.errors import BenchError, ConfigError
from trident.rights import require_writable

BUSY_SHARE = 0.1  # of the cores that others may use

if TYPE_CHECKING:
    from trident.bench.budget import Verdict
    from trident.bench.run import BenchReport


def command(
    queries: Queries,
    column: Column = None,
    encoding: Encoding = None,
    generations: Generations = Path("generations"),
    generation: GenerationId = None,
    server: Annotated[
        Path | None, typer.Option(help="What trident serve --json wrote of a running server; none: one is started.")
    ] = None,
    serve_option: Annotated[
        list[str] | None, typer.Option(help="Option for the server that is started, such as --cache=104857600.")
    ] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="grpc (default) or http; twice: both.")] = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="What ranks: hybrid, dense or lexical; twice: both, in turns.")
    ] = None,
    clients: Annotated[str, typer.Option(help="Numbers of clients that wait for their answers.")] = "1,2,4,8,16,32",
    rates: Annotated[str, typer.Option(help="Searches a second that arrive by Poisson, besides.")] = "",
    rounds: Annotated[int, typer.Option(help="Medians are taken over these.")] = 3,
    window: Annotated[float, typer.Option(help="Seconds of a window; a measurement is three.")] = 5.0,
    count: Count = 10_000,
    mix: Mix = "distinct",
    rerank: Annotated[
        int | None, typer.Option(help="Candidates of the second stage; else as many as the generation says.")
    ] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes of the yardstick.")] = "1,8,32",
    threads: Annotated[int | None, typer.Option(help="Of the yardstick; the cores by default.")] = None,
    budget: Annotated[Path | None, typer.Option(help="Bounds on ratios; exit status 1 when one is broken.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write latency against throughput as .svg or .png.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Measure a served generation with perf_analyzer, beside the same parts in one process."""
    end_with_server()
    run, budgets, analyzers = (need("bench", f"trident.bench.{name}") for name in ("run", "budget", "perf_analyzer"))
    given = {} if threads is None else {"threads": threads}
    config = run.BenchConfig(
        queries=queries,
        columns=parse_columns(column or [], QUERY_COLUMNS),
        encoding=encoding,
        generations=generations,
        generation=generation,
        server=server,
        serve_options=tuple(serve_option or ()),
        protocols=tuple(protocol or ("grpc",)),
        modes=tuple(mode or ()),
        clients=tuple(int(number) for number in _numbers(clients, "--clients", whole=True)),
        rates_per_s=tuple(_numbers(rates, "--rates")),
        rounds=rounds,
        window_s=window,
        count=count,
        mix=mix,
        rerank=rerank,
        batches=tuple(int(number) for number in _numbers(batches, "--batches", whole=True)),
        **given,
    )
    plots = need("bench", "trident.bench.plot")
    if plot is not None:
        plots.check_plot_path(plot)
        require_writable(plot)
        need("bench", "matplotlib")
    if out is not None:
        require_writable(out)
    kept = None if budget is None else budgets.load_budget(budget)
    report = run.run_bench(analyzers.find_perf_analyzer(), config, say=say)
    if out is not None:
        report.save(out)
    if plot is not None:
        title = f"{report.products:,} products, {report.precision}, {report.machine['cores']} cores"
        plots.save_plot(report.rows, report.yardstick, plot, title=title)
    verdicts = [] if kept is None else budgets.check_budget(kept, report.rows, subject=run.NAME)
    if json:
        print_json(report.to_json())
    else:
        print_report(report)
    _judge(verdicts)


def print_report(report: BenchReport) -> None:
    """Print the yardstick, the loads and the stages as tables."""
    facts, machine = report.queries, report.machine
    say(f"generation {report.generation}: {report.products:,} products, {report.precision}")
    if report.tuning:
        say(f"tuned settings: {', '.join(f'{name} {value}' for name, value in report.tuning.items())}")
    say(
        f"{facts['count']:,} queries, {facts['distinct']:,} different, tokens: {facts['tokens_median']} in the middle, "
        f"{facts['tokens_longest']} at most"
    )
    say(f"{machine['cores']} cores, load average {machine['load_average_at_start']:.1f} before")
    others = statistics.median(turn.others_cores for turn in report.measurements.turns)
    if others > BUSY_SHARE * machine["cores"]:
        say(
            f"warning: other programs kept {others:.1f} cores busy: a server of several processes then gets more "
            "of them than one process, and ratios of throughput and latency say nothing; CPU s/1000 still do",
            style="yellow",
        )
    yardstick = figures_table("In one process", "way", "batch", "searches/s", "p50 ms", "p99 ms", "CPU s/1000")
    for point in report.yardstick:
        numbers = (point.searches_per_s, point.p50_ms, point.p99_ms, point.cpu_s_per_1000)
        yardstick.add_row(point.way, str(point.batch), *(f"{number:.2f}" for number in numbers))
    served = figures_table(
        f"Served (medians of {report.rows[0].rounds} rounds; ratios to one process in the same round: plain, tuned)",
        "server", "load", "searches/s", "lowest to highest", "ratios", "p50 ms", "ratio", "p90", "p95", "p99",
        "encoder batch", "CPU s/1000", "ratios", "perf_analyzer's", "MiB",
    )  # fmt: skip
    for row in report.rows:
        served.add_row(
            f"{row.subject} {row.protocol}", f"{row.load}{' (knee)' if row.is_knee else ''}",
            f"{row.searches_per_s:.1f}", f"{row.lowest_per_s:.1f} to {row.highest_per_s:.1f}",
            f"{row.throughput_ratio:.2f}, {row.tuned_throughput_ratio:.2f}",
            f"{row.p50_ms:.2f}", f"{row.p50_ratio:.2f}",
            *(f"{latency:.2f}" for latency in (row.p90_ms, row.p95_ms, row.p99_ms)),
            "" if row.mean_encoder_batch is None else f"{row.mean_encoder_batch:.2f}",
            f"{row.server_cpu_s_per_1000:.2f}", f"{row.cpu_ratio:.2f}, {row.tuned_cpu_ratio:.2f}",
            f"{row.generator_cpu_s_per_1000:.2f}",
            f"{row.memory_mib:.0f}",
        )  # fmt: skip
    stages = figures_table(
        "Triton's own statistics, milliseconds a request (round of the median throughput)",
        "server", "load", "model", "queue", "input", "infer", "output", "batch", "failed", "cache hits",
    )  # fmt: skip
    for row in report.rows:
        for stage in row.stages:
            times = (stage.queue_ms, stage.compute_input_ms, stage.compute_infer_ms, stage.compute_output_ms)
            stages.add_row(
                f"{row.subject} {row.protocol}", str(row.load), stage.model, *(f"{time:.3f}" for time in times),
                f"{stage.mean_batch:.2f}", str(stage.failures), str(stage.cache_hits),
            )  # fmt: skip
    for table in (yardstick, served, stages):
        print_table(table)


def _judge(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        say(f"{'kept' if verdict.kept else 'BROKEN'}: {verdict}")
    broken = [str(verdict) for verdict in verdicts if not verdict.kept]
    if broken:
        raise BenchError(f"the budget is broken: {'; '.join(broken)}")


def _numbers(text: str, option: str, *, whole: bool = False) -> list[float]:
    try:
        return [float(int(part)) if whole else float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        kind = "whole numbers" if whole else "numbers"
        raise ConfigError(f"{option} takes {kind} such as 1,8,32, got '{text}'") from error
