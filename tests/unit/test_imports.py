"""The direction of the imports holds, read from the sources.

trident_client and trident import nothing else of ours; trident_train, trident_export and trident_gpu import trident
only, model_repository that and, for its encoder on a GPU, trident_gpu.
The command line is the one exception: inside a function it imports what a subcommand
needs. Third parties come with the extra that the package belongs to.
"""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = frozenset({"trident", "trident_train", "trident_export", "trident_gpu", "trident_client"})
# What a server or a client without the train and export extras does not have, and core must work there.
HEAVY = frozenset({"torch", "transformers", "peft", "accelerate", "datasets", "tritonclient", "sentence_transformers"})


@dataclass(frozen=True)
class Package:
    """A folder of sources and what it must not import.

    Attributes:
        root: folder of the sources, relative to the repository.
        forbidden: top-level modules that it must not import anywhere.
        command_line: globs below root of the files that may import anything inside functions.
        allowed: where not None, the only third-party modules that it may import.
    """

    root: str
    forbidden: frozenset[str]
    command_line: tuple[str, ...] = ()
    allowed: frozenset[str] | None = None


PACKAGES = {
    "trident": Package(
        "core/trident", (OURS | HEAVY) - {"trident"}, command_line=("cli*.py", "__main__.py", "commands/*.py")
    ),
    "trident_train": Package("train/trident_train", OURS - {"trident", "trident_train"}),
    "trident_export": Package("export/trident_export", OURS - {"trident", "trident_export"}),
    "trident_client": Package(
        "client/trident_client", OURS - {"trident_client"}, allowed=frozenset({"numpy", "tritonclient", "grpc"})
    ),
    "trident_gpu": Package("gpu/trident_gpu", OURS - {"trident", "trident_gpu"}),
    "model_repository": Package("model_repository", OURS - {"trident", "trident_gpu"}),
}


@dataclass(frozen=True)
class Import:
    """One imported top-level module."""

    module: str
    line: int
    inside_function: bool


def imports_in(node: ast.AST, *, inside_function: bool = False) -> Iterator[Import]:
    """Yield what a syntax tree imports by absolute name, calls that import a literal name included."""
    names: list[str] = []
    match node:
        case ast.Import():
            names = [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module), level=0):
            names = [module]
        case ast.Call(
            func=ast.Name("__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            names = [module]
        case ast.Call(func=ast.Name("need"), args=[_, ast.Constant(value=str(module))]):  # of trident.commands.output
            names = [module]
    for name in names:
        yield Import(name.partition(".")[0], node.lineno, inside_function)  # type: ignore[attr-defined]
    inside = inside_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from imports_in(child, inside_function=inside)


def violations(source: str, package: Package, *, file: str) -> list[str]:
    """Return a line for each import in ``source`` that breaks a rule; ``file`` is relative to the package's root."""
    is_command_line = any(Path(file).match(pattern) for pattern in package.command_line)
    broken = []
    for found in imports_in(ast.parse(source)):
        where = f"{package.root}/{file}:{found.line}"
        if found.module in package.forbidden:
            if is_command_line and found.inside_function:
                continue
            broken.append(f"{where}: must not import {found.module}")
        elif package.allowed is not None and found.module not in package.allowed | OURS | sys.stdlib_module_names:
            broken.append(f"{where}: may import only {', '.join(sorted(package.allowed))}, got {found.module}")
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
        ("trident", "index.py", "import hnswlib\nimport numpy as np\nfrom trident.errors import VectorIndexError"),
        ("trident", "commands/train.py", "def run():\n    from trident_train.run import train"),
        ("trident", "commands/train.py", "def run():\n    need('train', 'trident_train.run')"),
        ("trident", "cli.py", "def search():\n    from trident_client import SearchClient"),
        ("trident_train", "loop.py", "import torch\nfrom trident.encoder.text import TextContract\nfrom . import data"),
        ("trident_client", "client.py", "import json\nimport numpy as np\nfrom .errors import SearchError"),
        ("model_repository", "retriever/1/model.py", "import triton_python_backend_utils as pb_utils\nimport trident"),
    ],
)
def test_an_import_in_the_direction_passes(name, file, source):
    assert violations(source, PACKAGES[name], file=file) == []


# Extras whose requirements a package's sources may import; the bare requirements come on top.
EXTRAS_OF = {
    "trident": ("serve", "train", "export", "bench"),
    "trident_train": ("train",),
    "trident_export": ("export",),
    "trident_gpu": ("gpu",),
    "trident_client": (),
    "model_repository": ("serve",),
}
# Modules that no requirement of ours is named for: the one that brings them, the server that does, or kernels/.
BROUGHT_BY = {"google": "tritonclient", "huggingface_hub": "tokenizers", "triton_python_backend_utils": "tritonserver"}
BESIDE = {"tritonserver", "trident-kernels"}  # what no extra brings


@pytest.mark.parametrize("name", PACKAGES)
def test_third_parties_come_with_the_package_s_extras(name):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *(line for e in EXTRAS_OF[name] for line in project["optional-dependencies"][e])]
    brought = {canonicalize_name(Requirement(line).name) for line in lines} | BESIDE
    distributions = importlib.metadata.packages_distributions()
    foreign = {
        found.module
        for file in (REPOSITORY / PACKAGES[name].root).rglob("*.py")
        for found in imports_in(ast.parse(file.read_text("utf-8")))
        if found.module not in OURS | sys.stdlib_module_names
    }
    bringers = {
        module: {BROUGHT_BY[module]}
        if module in BROUGHT_BY
        else {canonicalize_name(each) for each in distributions.get(module, [module])}
        for module in foreign
    }
    assert {module: names for module, names in bringers.items() if not names & brought} == {}
