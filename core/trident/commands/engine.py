"""``trident engine``: build the TensorRT plan of a generation's encoder."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from trident.commands.output import from_set, need, print_json, print_table, say
from trident.config import to_table
from trident.errors import GenerationError, TridentError
from trident.generation.durable import put_in_place
from trident.generation.generation import Generation
from trident.generation.plan import DEFAULT_CACHE, PLAN_FILE, PlanManifest
from trident.rights import path_error


def command(
    generation: Annotated[Path, typer.Argument(help="The folder of a generation.")],
    library: Annotated[
        Literal["tensorrt", "tensorrt_rtx"], typer.Option(help="tensorrt for Triton; tensorrt_rtx needs no GPU.")
    ],
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="The graph to build from.")] = "fp16",
    cache: Annotated[Path, typer.Option(help="Where plans are kept; trident serve looks there.")] = DEFAULT_CACHE,
    out: Annotated[
        Path | None, typer.Option(help="Copy the plan here, its manifest beside it.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as workspace_mib=1024.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Build a plan for the library and the GPU that are here, or find it in the cache."""
    if out is not None and out.is_dir():
        raise TridentError(f"--out must be a file, got the folder {out}: choose a name such as {out / PLAN_FILE}")
    found = Generation.load(generation)
    onnx = found.graph(precision)
    if not onnx.is_file():
        raise GenerationError(
            f"generation {found.id} has no {precision} graph: its manifest says why; try another --precision"
        )
    engine = need("tensorrt", "trident_export.engine.engine")
    settings = engine.PlanSettings(library, precision, from_set(engine.EngineOptions, set_))
    started = time.monotonic()
    plan = need("tensorrt", "trident_export.engine.cache").cached_plan(
        onnx,
        cache,
        need("serve", "trident_export.engine.profiles").generation_profiles(found),
        settings,
    )
    seconds = time.monotonic() - started
    path = plan.path if out is None else _copy(plan.path, out, plan.manifest)
    if json:
        print_json({"plan": str(path), "built": plan.built, "seconds": seconds, **to_table(plan.manifest)})
        return
    print_table(_table(plan.manifest))
    say(f"{'built' if plan.built else 'found'} in {seconds:.1f} s: {path}")


def _copy(plan: Path, out: Path, manifest: PlanManifest) -> Path:
    staging = out.with_name(f".{out.name}.staging")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(plan, staging)
        put_in_place(staging, out)
        manifest.save(out)
    except OSError as error:
        with contextlib.suppress(OSError):  # it need not be there
            staging.unlink()
        raise TridentError(
            path_error(error, path=out) or f"{out} cannot be written: {error.strerror or error}"
        ) from error
    return out


def _table(manifest: PlanManifest) -> Table:
    title = f"{manifest.library} {manifest.version}, {manifest.precision}, {manifest.size_bytes / 2**20:,.1f} MiB"
    target = str(manifest.gpu) if manifest.gpu else f"compute capabilities {', '.join(manifest.compute_capabilities)}"
    table = Table(title=f"{title}, for {target}", title_justify="left")
    for name in ("profile", "min", "opt", "max"):
        table.add_column(name)
    for row in manifest.profiles:
        table.add_row(row["name"], *("x".join(map(str, row[key])) for key in ("min", "opt", "max")))
    return table
