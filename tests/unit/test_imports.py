"""The direction of the imports holds between packages and between rooms, read from the sources.

trident_client and trident import nothing else of ours, trident_gateway trident_client; trident_train, trident_export
and trident_gpu import trident only, model_repository that and, for its encoder on a GPU, trident_gpu.
The command line is the one exception: inside a function it imports what a subcommand needs. Third parties:
test_third_parties.py.

Within a package a room (a folder) or a module of the top level imports what lies on lower floors only, and no modules
import each other in a circle; imports inside functions and under TYPE_CHECKING count.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from source_imports import OURS, PACKAGES, REPOSITORY, Package, imports_in


def violations(source: str, package: Package, *, file: str) -> list[str]:
    """Return a line for each import in ``source`` that breaks a rule; ``file`` is relative to the package's root."""
    is_command_line = any(Path(file).match(pattern) for pattern in package.command_line)
    allowed = None if package.allowed is None else package.allowed | package.in_rooms.get(Path(file).parts[0], set())
    broken = []
    for found in {(each.module, each.line): each for each in imports_in(ast.parse(source))}.values():
        where = f"{package.root}/{file}:{found.line}"
        if found.module in package.forbidden:
            if is_command_line and found.inside_function:
                continue
            broken.append(f"{where}: must not import {found.module}")
        elif allowed is not None and found.module not in allowed | OURS | sys.stdlib_module_names:
            broken.append(f"{where}: may import only {', '.join(sorted(allowed))}, got {found.module}")
    return broken


@pytest.mark.parametrize("name", PACKAGES)
def test_imports_point_in_the_direction_of_the_architecture(name):
    package = PACKAGES[name]
    root = REPOSITORY / package.root
    files = sorted(root.rglob("*.py"))
    assert files, f"no sources under {root}"
    broken = [
        line
        for file in files
        for line in violations(file.read_text("utf-8"), package, file=file.relative_to(root).as_posix())
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("name", "file", "source", "module"),
    [
        ("trident", "index.py", "import torch", "torch"),
        ("trident", "index.py", "import torch.nn as nn", "torch"),
        ("trident", "index.py", "def load():\n    from transformers import AutoModel", "transformers"),
        (
            "trident",
            "server.py",
            "class Server:\n    from tritonclient.grpc import InferenceServerClient",
            "tritonclient",
        ),
        ("trident", "text.py", "def load():\n    import trident_train", "trident_train"),
        ("trident", "text.py", "import importlib\nimportlib.import_module('peft.tuners')", "peft"),
        ("trident", "text.py", "if True:\n    __import__('trident_export')", "trident_export"),
        ("trident", "cli.py", "from trident_train.run import train", "trident_train"),
        ("trident", "commands/train.py", "import trident_train", "trident_train"),
        ("trident", "commands/train.py", "import torch", "torch"),
        ("trident", "commands/train.py", "train = need('train', 'trident_train.run')", "trident_train"),
        ("trident", "index.py", "def build():\n    need('export', 'trident_export.index')", "trident_export"),
        ("trident_train", "loop.py", "from trident_export import merge", "trident_export"),
        ("trident_train", "loop.py", "from trident_client import SearchClient", "trident_client"),
        ("trident_export", "parity.py", "from trident_train.model.encoder import Encoder", "trident_train"),
        ("trident_client", "client.py", "from trident.errors import TridentError", "trident"),
        ("trident_client", "client.py", "import rich", "rich"),
        ("trident_client", "client.py", "import haystack", "haystack"),
        ("trident_client", "frameworks/haystack.py", "import rich", "rich"),
        ("model_repository", "retriever/1/model.py", "import trident_export.catalogue", "trident_export"),
    ],
)
def test_an_import_against_the_direction_is_found(name, file, source, module):
    broken = violations(source, PACKAGES[name], file=file)
    assert len(broken) == 1
    assert broken[0].startswith(f"{PACKAGES[name].root}/{file}:")
    assert broken[0].endswith(f" {module}")


@pytest.mark.parametrize(
    ("name", "file", "source"),
    [
        ("trident", "index.py", "import faiss\nimport numpy as np\nfrom trident.errors import VectorIndexError"),
        ("trident", "commands/train.py", "def run():\n    from trident_train.run import train"),
        ("trident", "commands/train.py", "def run():\n    need('train', 'trident_train.run')"),
        ("trident", "cli.py", "def search():\n    from trident_client import SearchClient"),
        ("trident_train", "loop.py", "import torch\nfrom trident.encoder.text import TextContract\nfrom . import data"),
        ("trident_client", "client.py", "import json\nimport numpy as np\nfrom .errors import SearchError"),
        ("trident_client", "frameworks/haystack.py", "from haystack import component"),
        ("model_repository", "retriever/1/model.py", "import triton_python_backend_utils as pb_utils\nimport trident"),
    ],
)
def test_an_import_in_the_direction_passes(name, file, source):
    assert violations(source, PACKAGES[name], file=file) == []


# Ground first: what stands on a floor imports lower floors only (and a room itself). A name is a room or a module.
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "trident": (
        ("errors",),
        ("config", "progress", "pages", "background", "rights", "stage_times"),
        ("data",),
        ("attributes",),
        ("encoder",),
        ("index", "lexical"),
        ("generation",),
        ("ranking",),
        ("cluster",),
        ("journal",),
        ("live",),
        ("rules",),
        ("retrieval",),
        ("search",),
        ("watch", "quality"),
        ("comparison", "probe"),
        ("processes",),
        ("server",),
        ("promotion",),
        ("compaction",),
        ("bench",),
        ("commands",),
        ("cli",),
        ("__main__",),
    ),
    "trident_train": (
        ("recipe",),
        ("processes",),
        ("data",),
        ("losses",),
        ("model",),
        ("judge",),
        ("loop",),
        ("reranker",),
        ("report",),
        ("trainees",),
        ("run",),
        ("cross_validation",),
    ),
    "trident_export": (
        ("engine",),
        ("config", "progress_rows", "run_folder"),
        ("job",),
        ("graphs",),
        ("merge",),
        ("catalogue",),
        ("judge",),
        ("stages",),
        ("inputs",),
        ("repository",),
        ("parts",),
        ("pipeline",),
    ),
}
LARGEST_ROOM = 15  # modules; commands and bench are lists of the like
LISTS = {"commands": 32, "bench": 24}


def sources_of(package: str) -> dict[str, str]:
    """Return the source of each module of a package by its dotted name; a folder's is that of its ``__init__``."""
    root = REPOSITORY / PACKAGES[package].root
    sources = {}
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        sources[".".join([package, *parts]).removesuffix(".__init__")] = file.read_text("utf-8")
    return sources


def imported(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the modules of the same package that each imports; a folder without sources of its own counts for none."""
    edges: dict[str, set[str]] = {}
    for module, source in sources.items():
        edges[module] = set()
        for found in imports_in(ast.parse(source)):
            name = found.name
            while name not in sources and "." in name:
                name = name.rpartition(".")[0]
            if name in sources and name != module and "." in name:
                edges[module].add(name)
    return edges


def climbing(package: str, sources: Mapping[str, str]) -> list[str]:
    """Return a line for each import of a floor that is not below the importing one's, and for what has no floor."""
    floor_of = {name: floor for floor, names in enumerate(FLOORS[package]) for name in names}
    broken = []
    for module, targets in sorted(imported(sources).items()):
        if module == package:
            continue
        own = module.split(".")[1]
        if own not in floor_of:
            broken.append(f"{module}: '{own}' has no floor")
            continue
        for target in sorted(targets):
            other = target.split(".")[1]
            if other != own and floor_of.get(other, len(FLOORS[package])) >= floor_of[own]:
                broken.append(f"{module} -> {target}: {own} must not import {other}")
    return broken


@pytest.mark.parametrize("package", FLOORS)
def test_no_room_imports_a_higher_one(package):
    sources = sources_of(package)
    assert climbing(package, sources) == []
    standing = {name for floor in FLOORS[package] for name in floor}
    assert standing == {module.split(".")[1] for module in sources if module != package}, "a floor of nothing"


@pytest.mark.parametrize("package", [*FLOORS, "trident_client", "trident_gateway", "trident_gpu"])
def test_no_modules_import_each_other(package):
    try:
        TopologicalSorter(imported(sources_of(package))).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("module", "source", "line"),
    [
        ("trident.index.files", "from trident.retrieval.requests import K", "index must not import retrieval"),
        ("trident.watch.canary", "import trident.quality.metrics", "watch must not import quality"),
        ("trident.errors", "if TYPE_CHECKING:\n    from trident.quality.gate import Report", "errors must not"),
        ("trident.data.pairs", "def read():\n    from trident.index import files", "data must not import index"),
        ("trident.bench.run", "need('serve', 'trident.commands.serve')", "bench must not import commands"),
        ("trident.attic.old", "", "'attic' has no floor"),
    ],
)
def test_an_import_up_a_floor_is_found(module, source, line):
    sources = {**sources_of("trident"), module: source}
    (broken,) = climbing("trident", sources)
    assert line in broken
    assert broken.startswith(module)


def test_a_circle_is_found():
    sources = {
        "trident": "",
        "trident.data.pairs": "def read():\n    from trident.data.tables import Table",
        "trident.data.tables": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trident.data.pairs",
    }
    with pytest.raises(CycleError, match="nodes are in a cycle"):
        TopologicalSorter(imported(sources)).prepare()


ROOMS = [
    (package, room)
    for package, floors in FLOORS.items()
    for room in itertools.chain(*floors)
    if (REPOSITORY / PACKAGES[package].root / room).is_dir()
]


@pytest.mark.parametrize(("package", "room"), ROOMS)
def test_a_room_says_what_it_holds_and_what_it_may_import(package, room):
    folder = REPOSITORY / PACKAGES[package].root / room
    tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
    assert all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in tree.body), "it defines nothing"
    below = itertools.takewhile(lambda floor: room not in floor, FLOORS[package])
    rooms = [name for name in itertools.chain(*below) if (package, name) in ROOMS]
    said = re.fullmatch(r".+\.\n\nRooms that it may import: (.+)\.", (ast.get_docstring(tree) or ""), re.DOTALL)
    assert said, "a line on what it holds, and one on what it may import"
    assert " ".join(said[1].split()).split(", ") == (rooms or ["none"])
    modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert 1 <= len(modules) <= LISTS.get(room, LARGEST_ROOM)
