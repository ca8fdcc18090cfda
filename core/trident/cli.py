"""The command line ``trident``: one module of ``trident.commands`` for each subcommand.

Exit status: 0 done; 1 refused or failed, with one line on standard error; 2 wrong usage (an option, a recipe).
"""

from __future__ import annotations

import sys

import typer

from trident import __version__
from trident.commands import (
    bench,
    catalogue,
    cluster,
    compare,
    compare_serving,
    cross_validate,
    embed,
    engine,
    evaluate,
    export,
    gateway,
    generations,
    pairs_from_clicks,
    promote,
    push,
    report,
    rollback,
    rules,
    sample,
    search,
    serve,
    suggest,
    train,
    tune,
    verify,
)
from trident.errors import ConfigError, TridentError
from trident.rights import path_error

app = typer.Typer(
    name="trident",
    help="From labelled (query, product) pairs to a product search service on Triton.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"trident {__version__}")
        raise typer.Exit


app.command(name="sample")(sample.command)
app.command(name="pairs-from-clicks")(pairs_from_clicks.command)
app.command(name="train")(train.command)
app.command(name="cross-validate")(cross_validate.command)
app.command(name="compare")(compare.command)
app.command(name="report")(report.command)
app.command(name="evaluate")(evaluate.command)
app.command(name="embed")(embed.command)
app.command(name="export")(export.command)
app.command(name="engine")(engine.command)
app.command(name="serve")(serve.command)
app.command(name="compare-serving")(compare_serving.command)
app.command(name="bench")(bench.command)
app.command(name="tune")(tune.command)
app.command(name="push")(push.command)
app.command(name="search")(search.command)
app.command(name="suggest")(suggest.command)
app.command(name="gateway")(gateway.command)
app.command(name="ui")(gateway.page)
app.command(name="promote")(promote.command)
app.command(name="rollback")(rollback.command)
app.command(name="generations")(generations.command)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(rules.app, name="rules")
app.add_typer(cluster.app, name="cluster")
app.command(name="verify")(verify.command)


def run() -> int:
    """Run the command line and return its exit status."""
    try:
        app()
    except TridentError as error:
        sys.stderr.write(f"trident: {error}\n")
        return 2 if isinstance(error, ConfigError) else 1
    except OSError as error:
        line = path_error(error)
        if line is None:
            raise
        sys.stderr.write(f"trident: {line}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("trident: interrupted\n")
        return 130
    return 0
