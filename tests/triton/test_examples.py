"""What stands in examples/ runs as it stands there, against a real server and a gateway beside it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateways import running
from programs import found, needs

from trident.server.server import TritonServer
from trident_client import SearchClient
from trident_gateway import GatewayConfig

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
NOTEBOOK = EXAMPLES / "pairs_to_search.ipynb"
QUERY = "navy sofa"


@pytest.fixture(scope="module")
def gateway(tiny_server: TritonServer) -> Iterator[str]:
    config = GatewayConfig(url=tiny_server.urls.grpc, timeout_s=60)
    with running(config) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def best(tiny_server: TritonServer) -> list[str]:
    """Return the ids of what is found."""
    with SearchClient(tiny_server.urls.grpc, timeout_s=60) as client:
        return [hit.product_id for hit in client.search(QUERY, k=5).hits]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)],
        env=os.environ | environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ids(lines: str) -> list[str]:
    return [line.split()[1] for line in lines.splitlines()]


def test_every_example_is_named_and_run() -> None:
    named = set(re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text("utf-8")))
    assert named == {file.name for file in EXAMPLES.iterdir() if file.is_file()} - {"README.md"}
    own = Path(__file__).read_text("utf-8")
    assert [name for name in named if name not in own] == []


def test_ten_lines_search(tiny_server: TritonServer, best: list[str]) -> None:
    code = (EXAMPLES / "search.py").read_text("utf-8")
    assert len(code.splitlines()) <= 11
    assert ids(run(sys.executable, EXAMPLES / "search.py", QUERY, tiny_server.urls.grpc)) == best


def test_a_thousand_queries_at_once(tiny_server: TritonServer) -> None:
    said = run(sys.executable, EXAMPLES / "fan_out.py", tiny_server.urls.grpc)
    assert re.fullmatch(r"1000 answers in [\d.]+ s; 'red lamp 0' finds '\w+ \w+ \w+'\n", said)


def test_curl(gateway: str, tiny_server: TritonServer, best: list[str]) -> None:
    lines = run(EXAMPLES / "curl.sh", gateway, f"http://{tiny_server.urls.http}").splitlines()
    said = [line for line in lines if line]
    assert len(json.loads(said[1])["hits"]) == 3
    assert '"object":"embedding"' in said[3]
    assert {each["name"] for each in json.loads(said[5])["outputs"]} == {"title", "count"}


@needs("node", found("node"), "nodejs")
def test_javascript(gateway: str, best: list[str]) -> None:
    assert ids(run("node", EXAMPLES / "fetch.mjs", gateway, QUERY)) == best
    done = subprocess.run(["node", EXAMPLES / "fetch.mjs", gateway, ""], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "query must not be empty" in done.stderr


@needs("java", found("java"), "default-jdk-headless")
def test_java(gateway: str, best: list[str]) -> None:
    found = json.loads(run("java", EXAMPLES / "Search.java", gateway, QUERY))
    assert [hit["product_id"] for hit in found["hits"]] == best


def test_the_notebook_is_clean_and_asks_for_recipes_that_are_there() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
    tree = ast.parse("\n".join(code))
    recipes = [
        each.value for each in ast.walk(tree) if isinstance(each, ast.Constant) and str(each.value).endswith(".toml")
    ]
    assert recipes
    assert all(tomllib.loads((REPOSITORY / recipe).read_text("utf-8")) for recipe in recipes)


RUN_NOTEBOOK = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], 4)
NotebookClient(book, timeout=600, kernel_name="python3").execute()
print(book.cells[-1].outputs[-1].text)
"""


@pytest.mark.slow
def test_the_notebook_goes_from_pairs_to_search(tmp_path: Path, tiny_data: Path, tiny_model: Path) -> None:
    """In an environment of its own beside ours; installs, so online."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    subprocess.run([python, "-m", "pip", "install", "-q", "nbclient", "ipykernel"], check=True)
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(f'base_model = "{tiny_model}"\n[optimizer]\nepochs = 4\nbatch_size = 16\nlearning_rate = 1e-2\n')
    given = {
        "PAIRS": tiny_data / "pairs.csv",
        "CATALOGUE": tiny_data / "products.csv",
        "RECIPE": recipe,
        "QUERY": QUERY,
    }
    environment = {f"TRIDENT_{name}": str(value) for name, value in given.items()} | {"JUPYTER_PLATFORM_DIRS": "1"}
    assert len(ids(run(python, "-c", RUN_NOTEBOOK, NOTEBOOK, **environment).strip())) == 5
