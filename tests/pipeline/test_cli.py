"""The command line as its users see it: standard output, standard error, exit status, what is left on disk."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import trident
from trident.generation.generation import find_generation
from trident.server.server import free_ports

RECIPE = """
base_model = "{model}"
data = {{ pairs = "{data}/pairs.csv", validation_share = 0.2, test_share = 0.3 }}
text = {{ query_max_tokens = 16, product_max_tokens = 32 }}
optimizer = {{ epochs = 2, batch_size = 16, learning_rate = 1e-2 }}
"""
PROGRESS = ("pairs: ", "starting generation ")
# Runs many command lines one after the other: importing what they need takes seconds.
SEVERAL = """
import json, os, sys, tempfile, traceback
from trident.__main__ import main
SLOW = ("torch", "transformers", "onnx", "sklearn", "scipy", "matplotlib", "peft", "accelerate")
outcomes, own = [], [os.dup(1), os.dup(2)]
for arguments in json.load(sys.stdin):
    streams = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), descriptor)
    sys.argv = ["trident", *arguments]
    try:
        main()
    except SystemExit as end:
        status = end.code
    except BaseException:
        status = "traceback"
        traceback.print_exc()
    sys.stdout.flush()
    for descriptor, stream in enumerate(own, start=1):
        os.dup2(stream, descriptor)
    told = [os.pread(each.fileno(), 1 << 20, 0).decode() for each in streams]
    outcomes.append([[status, *told], [name for name in SLOW if name in sys.modules]])
json.dump(outcomes, sys.stdout)
"""
BARE = """
import runpy, sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None  # as if it were not installed
runpy.run_module("trident", run_name="__main__")
"""


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    status: int
    out: str
    err: str


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default", "NO_COLOR": "1"}


def run(*arguments: str | Path, program: tuple[str, ...] = ("-m", "trident")) -> Outcome:
    """Run ``trident`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def document(outcome: Outcome) -> dict[str, Any]:
    """Return the one JSON document on standard output."""
    assert outcome.status == 0, outcome.err
    assert outcome.out.count("\n") == 1
    found: dict[str, Any] = json.loads(outcome.out, parse_constant=pytest.fail)  # NaN is no JSON
    return found


def refusal(outcome: Outcome, status: int) -> str:
    """Return the one line of a refusal; what was done before it may stand above."""
    assert (outcome.status, outcome.out) == (status, ""), outcome.err
    *before, line = outcome.err.splitlines()
    assert all(each.startswith(PROGRESS) for each in before), outcome.err
    assert line.startswith("trident: "), outcome.err
    assert outcome.err.endswith("\n")
    return line.removeprefix("trident: ")


@pytest.fixture(scope="module")
def recipe(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(RECIPE.format(model=tiny_model, data=tiny_data))
    return path


@pytest.fixture(scope="module")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a run that ``trident train`` made, and the document that it printed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, document(run("train", recipe, "--out", folder, "--set", "optimizer.epochs=4", "--json"))


@pytest.fixture
def held_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_train_prints_its_report(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, report = trained
    assert [row["name"] for row in report["test"]] == ["random", "BM25", "pretrained", "lora"]
    assert len(report["trained"]["epochs"]) == 4
    assert report["improved"]
    assert report == json.loads((folder / "report.json").read_text())
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


@pytest.fixture
def run_fork(run_warm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Outcome]:
    """Return what runs ``trident`` as ``run`` does, in a fork that has PyTorch already."""

    def run_it(*arguments: str | Path) -> Outcome:
        done = run_warm(*arguments)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run_it


def test_evaluate_prints_every_arm(
    trained: tuple[Path, dict[str, Any]], tiny_data: Path, tmp_path: Path, run_fork: Callable[..., Outcome]
) -> None:
    header, *lines = (tiny_data / "pairs.csv").read_text().splitlines()
    pairs = tmp_path / "labelled.csv"
    pairs.write_text("\n".join([f"{header},split", *(f"{line},Test" for line in lines)]))
    catalogue = tiny_data / "products.csv"
    found = document(
        run_fork(
            *("evaluate", trained[0], "--pairs", pairs, "--catalogue", catalogue),
            *("--split", "test", "--held-out", "--json"),
        )
    )
    assert (found["model"], found["pairs"]) == (str(trained[0]), str(pairs))
    assert [arm["name"] for arm in found["arms"]] == [
        *("random", "BM25", "BM25 tuned", "pretrained", str(trained[0]), "hybrid")
    ]
    assert all(0 <= arm["catalogue"]["recall_at_100"] <= 1 for arm in found["arms"])
    assert len(found["notes"]) == 2
    assert "were trained on and left out" in found["notes"][0]
    assert "of these queries validated the run and choose BM25's parameters" in found["notes"][1]
    held_out = trained[1]["test"][-1]["judged"]
    assert found["arms"][-2]["judged"]["queries"] >= held_out["queries"]  # the validation queries too


def test_evaluate_measures_another_text_contract(
    trained: tuple[Path, dict[str, Any]], tiny_data: Path, run_fork: Callable[..., Outcome]
) -> None:
    command = ("evaluate", trained[0], "--pairs", tiny_data / "pairs.csv", "--json")
    plain = document(run_fork(*command))["arms"]
    prefixed = document(run_fork(*command, "--text", "query_template=query: {text}", "--text", "query_max_tokens=24"))[
        "arms"
    ]
    assert prefixed[:2] == plain[:2]  # random and BM25 read no contract
    assert [arm["name"] for arm in plain] == ["random", "BM25", "pretrained", str(trained[0])]
    assert all(changed["judged"] != arm["judged"] for changed, arm in zip(prefixed[2:], plain[2:], strict=True))


def test_export_prints_its_manifest(trained: tuple[Path, dict[str, Any]], tiny_data: Path, tmp_path: Path) -> None:
    found = document(
        run(
            *("export", trained[0], "--catalogue", tiny_data / "products.csv", "--out", tmp_path / "generations"),
            *("--set", "threads=1", "--set", "index.ef=64", "--set", "engine.library=tensorrt_rtx", "--json"),
        )
    )
    generation = find_generation(tmp_path / "generations")
    generation.verify_files()
    assert (found["id"], found["serial"], found["products"]) == (generation.id, 1, 144)
    assert found["index"]["ef"] == 64
    (engine,) = (row for row in found["stages"] if row["stage"] == "engine")
    assert engine["size_bytes"] > 0
    assert "compiled fp16 for compute capabilities 8.0+: query 8x" in engine["proof"]
    for proof in found["precisions"]:
        assert proof["change"]["ndcg_at_10"].keys() == proof["change"]["roc_auc"].keys() == {"value", "low", "high"}
    assert {path.name for path in (tmp_path / "generations").iterdir()} == {".lock", ".serial", generation.id}


def test_refusals_are_one_line_and_leave_nothing(
    trained: tuple[Path, dict[str, Any]], recipe: Path, tiny_data: Path, tmp_path: Path
) -> None:
    out, pairs, products = tmp_path / "out", tiny_data / "pairs.csv", tiny_data / "products.csv"
    (tmp_path / "file").write_text("x")
    (tmp_path / "graded.csv").write_text("query,product_id,product_title,relevance_label\nsofa,1,red sofa,3\n")
    (tmp_path / "untitled.csv").write_text("product_id,product_title\n1,sofa\n2,\n")
    coloured = tmp_path / "coloured.csv"
    coloured.write_text("product_id,product_title,colour\n1,sofa,red\n")
    (tmp_path / "model").mkdir()
    lost = tmp_path / "lost"
    shutil.copytree(trained[0], lost)
    (lost / "base.json").write_text('{"base_model": "/no/such/model", "weights_fingerprint": ""}')
    train, evaluate = ("train", recipe, "--out", out), ("evaluate", trained[0], "--pairs")
    export = ("export", trained[0], "--out", out, "--catalogue")
    expected: list[tuple[tuple[str | Path, ...], int, str]] = [
        # What is there cannot be used: status 1.
        ((*train, "--set", "data.pairs=none.csv"), 1, "file none.csv does not exist"),
        ((*train, "--set", f"data.pairs={tmp_path}/graded.csv"), 1, "relevance_label must be 0 or 1, got 3 in row 1"),
        ((*train, "--set", f"base_model={tmp_path}/none"), 1, "is neither a folder nor pypi:PACKAGE, and no name"),
        ((*train, "--set", "base_model=pypi:shop-nowhere"), 1, "is not installed: run pip install shop-nowhere"),
        (("train", recipe, "--out", trained[0]), 1, "exists already: choose another --out, or add --overwrite"),
        (("train", recipe, "--out", tmp_path / "file" / "run"), 1, "file is a file; name another place"),
        ((*evaluate, "none.csv"), 1, "file none.csv does not exist"),
        ((*evaluate, products), 1, "column 'query' is missing in"),
        ((*evaluate, pairs, "--split", "test"), 1, "has no split column to choose 'test' from"),
        ((*evaluate, pairs, "--catalogue", "none.csv"), 1, "file none.csv does not exist"),
        (("evaluate", tmp_path / "model", "--pairs", pairs), 1, "has no config.json: it is no transformers model"),
        ((*export, tmp_path / "untitled.csv"), 1, "must not be empty: 1 row is, the first is row 2 of"),
        ((*export, "none.csv"), 1, "file none.csv does not exist"),
        (("export", tmp_path / "none", "--catalogue", products, "--out", out), 1, "none does not exist: make one with"),
        (("export", tmp_path / "model", "--catalogue", products, "--out", out), 1, "is no run folder: it has no base"),
        # The command was not meant so: status 2.
        (("train", "none.toml", "--out", out), 2, "recipe none.toml does not exist"),
        (("train", pairs, "--out", out), 2, "is not a TOML file"),
        ((*train, "--set", "optimizer.epoch=3"), 2, "unknown key 'optimizer.epoch' (did you mean 'epochs'?)"),
        ((*train, "--set", "epochs"), 2, "--set takes key=value, got 'epochs'"),
        ((*train, "--set", "optimizer.epochs=many"), 2, "'optimizer.epochs' must be of type int, got 'many'"),
        ((*train, "--set", "optimizer.epochs=0"), 2, "optimizer.epochs must be >= 1, got 0"),
        ((*evaluate, pairs, "--column", "product_title"), 2, "--column takes NAME=COLUMN, got 'product_title'"),
        ((*evaluate, pairs, "--column", "title=name"), 2, "unknown name 'title' (did you mean 'product_title'?)"),
        ((*evaluate, pairs, "--text", "query=x"), 2, "unknown key 'query'"),
        ((*evaluate, pairs, "--text", "query_template=query:"), 2, "query_template must contain {text} exactly once"),
        (("compare", tmp_path / "model"), 1, "is no run folder: it has no"),
        (("embed", tmp_path / "model", "--catalogue", products, "--out", out), 1, "is no run folder: it has no base"),
        (("embed", trained[0], "--catalogue", "none.csv", "--out", out), 1, "file none.csv does not exist"),
        (("cross-validate", "none.toml", "--out", out), 2, "recipe none.toml does not exist"),
        (("cross-validate", recipe, "--out", out, "--folds", "1"), 2, "cross-validation needs folds >= 2"),
        (("cross-validate", recipe, "--out", tmp_path / "file" / "x"), 1, "file is a file; name another place"),
        ((*export, products, "--vectors", tmp_path / "model"), 1, "model holds no embeddings: "),
        (("report", tmp_path / "model"), 1, "is no run folder: it has no"),
        (("compare", trained[0], "--plot", "x.gif"), 2, "--plot writes .svg or .png, got x.gif"),
        (("evaluate", "none/of/it", "--pairs", pairs), 1, "is neither a folder nor pypi:PACKAGE, and no name of a hub"),
        ((*export, products, "--attribute", "colour=keyword"), 1, "has no such column, found none"),
        ((*export, coloured, "--attribute", "colour=number"), 1, "--attribute colour=number takes a number, got"),
        ((*export, products, "--queries", "none.csv"), 1, "file none.csv does not exist"),
        ((*export, products, "--block-list", "none.txt"), 1, "block list none.txt cannot be read: No such file"),
        ((*export, products, "--holds", "3"), 1, "--holds must be left out where there is no log, got 3"),
        ((*export, products, "--reranker", trained[0]), 1, "the run of --reranker must be that of stage 'reranker'"),
        (("export", lost, "--catalogue", products, "--out", out), 1, "base model '/no/such/model' is neither a folder"),
        (("compare-serving", "a", "b", "--queries", "none.csv"), 1, "file none.csv does not exist"),
        (("promote", "a", "--generations", tmp_path / "none"), 1, "is ready on HTTP port 8000: start one with"),
        (("promote", "a", "--set", "gate.foo=3"), 2, "unknown key 'gate.foo'"),
        (("engine", tmp_path / "none", "--library", "tensorrt_rtx"), 1, "is no generation: it has no manifest.json"),
        (("bench", "--queries", "none.csv"), 1, "file none.csv does not exist"),
        (("tune", "--queries", pairs, "--generations", tmp_path / "none"), 1, "holds no generation: make one with"),
        (("rules", "check", "none.toml"), 1, "rules none.toml do not exist"),
        (("cluster", "load", "--generations", tmp_path / "none"), 1, "holds no generation: make one with"),
        (("push", trained[0]), 2, "--to"),
        ((*export, products, "--set", "index.eff=3"), 2, "unknown key 'index.eff' (did you mean 'ef'?)"),
        ((*export, products, "--set", "recall_target=2"), 2, "recall_target must be in (0, 1], got 2"),
        ((*export, products, "--set", "engine.library=rtx"), 2, "'engine.library' must be one of 'tensorrt', 'tens"),
    ]  # fmt: skip
    command_lines = [[*map(str, arguments)] for arguments, _, _ in expected]
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL],
        env=environment(),
        input=json.dumps(command_lines),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wrong = []
    outcomes = json.loads(done.stdout)
    for (arguments, status, part), (outcome, imported) in zip(expected, outcomes, strict=True):
        try:
            assert part in refusal(Outcome(*outcome), status)
            assert imported == []  # what PyTorch alone can tell, such as names of layers, is not among these
        except AssertionError as error:
            wrong.append(f"{' '.join(map(str, arguments))}\n{outcome}\n{error}")
    assert not wrong, "\n\n".join(wrong)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["coloured.csv", "file", "graded.csv", "lost", "model", "untitled.csv"]
    assert [path.name for path in trained[0].parent.iterdir()] == ["tiny"]


def test_the_version_is_printed() -> None:
    assert run("--version") == Outcome(0, f"trident {trident.__version__}\n", "")


def test_help_names_the_commands() -> None:
    found = run("--help")
    assert (found.status, found.err) == (0, "")
    for command in ("sample", "train", "evaluate", "export", "serve", "compare-serving", "search"):
        assert f"\n  {command} " in found.out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("serch", "sofa"), "no such command 'serch'"),
        (("search", "sofa", "--kk", "3"), "no such option: --kk"),
        (("search",), "missing argument 'query'"),
        (("search", "sofa", "-k", "many"), "invalid value for '-k': "),
        (("train", "x.toml"), "missing option '--out'"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], part: str) -> None:
    found = run(*arguments)
    assert (found.status, found.out) == (2, "")
    assert found.err.startswith("Usage: ")
    assert part in found.err.lower()
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "no server answers at 127.0.0.1:1: start one with trident serve"),
        (("--protocol", "http"), "no server answers at 127.0.0.1:1: start one with trident serve"),
        (("-k", "0"), "k must be 1 to 1000, got 0"),
        (("--min-score", "2"), "min_score must be -1 to 1, a cosine, got 2.0"),
        (("--timeout", "0"), "timeout_s must be > 0, got 0"),
    ],
)
def test_searches_that_cannot_be_answered(arguments: tuple[str, ...], part: str) -> None:
    assert part in refusal(run("search", "sofa", "--url", "127.0.0.1:1", *arguments), 1)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ("{", "--options must be one JSON object such as '{}', got '{' (Expecting property name"),
        ("[1]", "--options must be one JSON object such as '{}', got '[1]'"),
        ("filter=1", "--options must be one JSON object such as '{}', got 'filter=1' (Expecting value"),
        ('{"filter": NaN}', "options must be what JSON can hold, got {'filter': nan} (Out of range float values"),
    ],
)
def test_options_of_a_search_that_are_no_object(options: str, part: str) -> None:
    found = run("search", "sofa", "--url", "127.0.0.1:1", "--options", options)
    assert found.status in (1, 2)
    assert part in refusal(found, found.status)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_no_time_to_start_is_refused(tiny_generations: Path, seconds: str) -> None:
    found = run("serve", "--generations", tiny_generations, "--start-timeout", seconds)
    assert f"--start-timeout must be > 0 seconds, got {seconds}" in refusal(found, found.status)


def test_a_folder_without_a_generation_is_not_served(tmp_path: Path) -> None:
    line = refusal(run("serve", "--generations", tmp_path), 1)
    assert line.startswith(f"{tmp_path} holds no generation: make one with trident export RUN --catalogue FILE --out ")


def test_a_port_in_use_is_named_with_its_option(tiny_generations: Path, held_port: int) -> None:
    http_port, metrics_port = map(str, free_ports(2))
    others = ("--http-port", http_port, "--metrics-port", metrics_port)
    line = refusal(run("serve", "--generations", tiny_generations, "--grpc-port", str(held_port), *others), 1)
    assert line.startswith(f"port {held_port} on 127.0.0.1 cannot be used (Address already in use): ")
    assert line.endswith("choose another with --grpc-port")
    assert not (tiny_generations / ".serving" / http_port).exists()


def test_options_of_serve_are_checked_first(tmp_path: Path) -> None:
    line = refusal(run("serve", "--generations", tmp_path, "--variant", "gpu"), 2)
    assert line == "--variant must be one of cpu, stages, onnxruntime, tensorrt, torch, got 'gpu'"


@pytest.mark.parametrize(
    ("missing", "arguments", "part"),
    [
        ("typer", ("--version",), "the command line needs typer: pip install 'trident-search[serve]'"),
        ("typer,rich", ("search", "sofa"), "the command line needs typer, rich: pip install 'trident-search[serve]'"),
        ("torch", ("train", "RECIPE", "--out", "x"), "needs torch: run pip install 'trident-search[train]'"),
        ("onnx", ("export", "RUN", "--catalogue", "CATALOGUE", "--out", "x"), "pip install 'trident-search[export]'"),
        ("tritonclient", ("search", "sofa"), "needs tritonclient"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named(
    missing: str, arguments: tuple[str, ...], part: str, recipe: Path, tiny_run: Path, tiny_data: Path
) -> None:
    given = {"RECIPE": recipe, "RUN": tiny_run, "CATALOGUE": tiny_data / "products.csv"}
    words = [given.get(word, word) for word in arguments]
    assert part in refusal(run(*words, program=("-c", BARE, missing)), 1)
