"""Every comparison that needs no other machine, one after the other, and one table of ratios: ours beside the other.

    python -m bench --quick                      # the bundled sample, a short form of each; minutes on two cores
    python -m bench --only training,embedding --json
    python -m bench --generations generations --catalogue products.csv --pairs pairs.csv

Without ``--generations`` the sample is exported into ``--out`` once, with the packaged model as it comes. A ratio above
1 means that Trident is faster. What cannot run here is named with its last line; figures that count come from a quiet
machine and from the programs themselves, without ``--quick``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
RECIPE = BENCH.parent / "train" / "recipes" / "demo.toml"
Document = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What is measured with; ``quick`` asks for the short form."""

    generations: Path
    catalogue: Path
    pairs: Path
    out: Path
    quick: bool

    def generation(self) -> Path:
        """Return the folder of the newest generation."""
        manifests = {path: json.loads(path.read_text("utf-8")) for path in self.generations.glob("*/manifest.json")}
        return max(manifests, key=lambda path: int(manifests[path]["serial"])).parent

    def load(self) -> list[str]:
        """Return the options of what asks a server."""
        short = ["--rounds", "1", "--window", "0.5"] if self.quick else []
        given = ["--queries", str(self.pairs), "--generations", str(self.generations), "--clients", "1,32", *short]
        return [*given, "--out", str(self.out / "report.json")]


@dataclass(frozen=True)
class Ratio:
    """A row of the table: how many times as fast we are."""

    comparison: str
    ours: str
    other: str
    ratio: float


@dataclass(frozen=True)
class Comparison:
    """A program, and what its document says; ``reports``: in ``report.json``, not on standard output."""

    command: Callable[[Inputs], list[str]]
    ratios: Callable[[Document], Iterator[tuple[str, str, float]]]
    reports: bool = False


def _program(name: str) -> list[str]:
    return [sys.executable, str(BENCH / name)]


def _training(given: Inputs) -> list[str]:
    short = ["--epochs", "1", "--pairs", "512"] if given.quick else []
    return [*_program("training.py"), "--data", str(given.pairs), *short, "--json"]


def _training_ratios(found: Document) -> Iterator[tuple[str, str, float]]:
    first, *others = found["rows"]
    for row in others:
        yield row["name"], first["name"], row["ratio"]


def _embedding(given: Inputs) -> list[str]:
    short = ["--titles", "256"] if given.quick else []
    options = ["--generation", str(given.generation()), "--catalogue", str(given.catalogue), *short]
    return [*_program("embed.py"), *options]


def _embedding_ratios(found: Document) -> Iterator[tuple[str, str, float]]:
    for way, ratio in found["ratio"].items():
        yield way.replace("_", " "), "sentence-transformers", ratio


def _engines(given: Inputs) -> list[str]:
    short = ["--batches", "1", "32", "--tokens", "16", "--seconds", "0.5"] if given.quick else []
    return [*_program("engines.py"), "--model", str(given.generation() / "encoder"), *short, "--json"]


def _engines_ratios(found: Document) -> Iterator[tuple[str, str, float]]:
    by_shape: dict[tuple[int, int], dict[str, float]] = {}
    for row in found["rows"]:
        by_shape.setdefault((row["rows"], row["tokens"]), {})[row["way"]] = row["milliseconds"]
    for (rows, tokens), taken in by_shape.items():
        for way in taken:
            if way != "torch cpu fp32" and "torch cpu fp32" in taken:
                yield f"{way}, {rows}x{tokens}", "PyTorch, float32", taken["torch cpu fp32"] / taken[way]


def _serving(given: Inputs) -> list[str]:
    return [sys.executable, "-m", "trident", "bench", *given.load()]


def _serving_ratios(found: Document) -> Iterator[tuple[str, str, float]]:
    for row in found["rows"]:
        yield f"served, {row['load']}", "in one process", row["throughput_ratio"]
        yield f"served, {row['load']}", "the same, tuned", row["tuned_throughput_ratio"]


def _beside_ratios(found: Document) -> Iterator[tuple[str, str, float]]:
    ours = {
        (row["load"], row["protocol"]): row["searches_per_s"] for row in found["rows"] if row["subject"] == "trident"
    }
    for row in found["rows"]:
        place = (row["load"], row["protocol"])
        if row["subject"] != "trident" and place in ours:
            yield f"trident {row['protocol']}, {row['load']}", row["subject"], ours[place] / row["searches_per_s"]


COMPARISONS = {
    "training": Comparison(_training, _training_ratios),
    "embedding": Comparison(_embedding, _embedding_ratios),
    "engines": Comparison(_engines, _engines_ratios),
    "serving": Comparison(_serving, _serving_ratios, reports=True),
    "layouts": Comparison(lambda given: [*_program("layouts.py"), *given.load()], _beside_ratios, reports=True),
    "peers": Comparison(
        lambda given: [*_program("peers.py"), *given.load(), "--peers", "pytriton", "--environment", sys.prefix],
        _beside_ratios,
        reports=True,
    ),
}


def run(name: str, given: Inputs) -> tuple[list[Ratio], str]:
    """Return the ratios of a comparison, or why there are none, in its own last line."""
    comparison, report = COMPARISONS[name], given.out / "report.json"
    report.unlink(missing_ok=True)
    done = subprocess.run(comparison.command(given), capture_output=True, text=True, check=False)
    try:  # some exit with 1 where a target was missed: their figures are there all the same
        text = report.read_text("utf-8") if comparison.reports else done.stdout.splitlines()[-1]
        rows = [Ratio(name, *row) for row in comparison.ratios(json.loads(text))]
    except (OSError, IndexError, ValueError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return [], lines[-1] if lines else f"status {done.returncode}, and nothing said"
    return rows, ""


def make_sample(out: Path) -> Inputs:
    """Export the bundled sample with the packaged model as it comes, unless that is there; return what to measure."""
    sample, generations = out / "sample", out / "generations"
    given = Inputs(generations, sample / "products.csv", sample / "pairs.csv", out, quick=False)
    if not list(generations.glob("*/manifest.json")):
        trident = [sys.executable, "-m", "trident"]
        for command in (
            ["sample", "--out", sample],
            ["train", RECIPE, "--out", out / "run", "--set", "method=none", "--set", f"data.pairs={given.pairs}"],
            ["export", out / "run", "--catalogue", given.catalogue, "--out", generations],
        ):
            subprocess.run(
                [*trident, *map(str, command), *(["--overwrite"] if command[0] == "train" else [])], check=True
            )
    return given


def main() -> int:
    """Measure and print; the exit status is 1 where a comparison has no figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short form of each")
    parser.add_argument("--only", default=",".join(COMPARISONS), help="some of them, such as training,serving")
    parser.add_argument("--generations", type=Path, help="a folder of generations; without: the bundled sample")
    parser.add_argument("--catalogue", type=Path, help="its products")
    parser.add_argument("--pairs", type=Path, help="labelled pairs: trained on, and their queries asked")
    parser.add_argument("--out", type=Path, default=Path("bench-output"))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := sorted(set(names) - COMPARISONS.keys()):
        parser.error(f"--only must be of {', '.join(COMPARISONS)}, got '{unknown[0]}'")
    own = (options.generations, options.catalogue, options.pairs)
    if any(own) and not all(own):
        parser.error("--generations, --catalogue and --pairs belong together: give all three, or none")
    options.out.mkdir(parents=True, exist_ok=True)
    sample = None if all(own) else make_sample(options.out)
    place = (sample.generations, sample.catalogue, sample.pairs) if sample else own
    given = Inputs(*place, options.out, quick=options.quick)
    rows: list[Ratio] = []
    absent: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        sys.stderr.write(f"{number} of {len(names)}: {name}\n")
        found, why = run(name, given)
        rows += found
        absent.update({name: why} if why else {})
    if options.json:
        sys.stdout.write(json.dumps({"ratios": [asdict(row) for row in rows], "not_here": absent}) + "\n")
    else:
        show(rows, absent)
    return 1 if absent else 0


def show(rows: list[Ratio], absent: dict[str, str]) -> None:
    """Print the table, and what is missing from it."""
    sys.stdout.write("| comparison | ours | beside | times as fast |\n| --- | --- | --- | ---: |\n")
    for row in rows:
        sys.stdout.write(f"| {row.comparison} | {row.ours} | {row.other} | {row.ratio:.2f} |\n")
    for name, why in absent.items():
        sys.stdout.write(f"not here: {name}: {why}\n")


if __name__ == "__main__":
    sys.exit(main())
