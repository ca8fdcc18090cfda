"""What the sources of the packages import, read from them; no module is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = frozenset({"trident", "trident_train", "trident_export", "trident_gpu", "trident_client", "trident_gateway"})
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
        in_rooms: what a room may import beside them.
    """

    root: str
    forbidden: frozenset[str]
    command_line: tuple[str, ...] = ()
    allowed: frozenset[str] | None = None
    in_rooms: Mapping[str, frozenset[str]] = field(default_factory=dict)


PACKAGES = {
    "trident": Package(
        "core/trident", (OURS | HEAVY) - {"trident"}, command_line=("cli*.py", "__main__.py", "commands/*.py")
    ),
    "trident_train": Package("train/trident_train", OURS - {"trident", "trident_train"}),
    "trident_export": Package("export/trident_export", OURS - {"trident", "trident_export"}),
    "trident_client": Package(
        "client/trident_client",
        OURS - {"trident_client"},
        allowed=frozenset({"numpy", "tritonclient", "aiohttp", "opentelemetry"}),
        in_rooms={"frameworks": frozenset({"langchain_core", "llama_index", "haystack"})},
    ),
    "trident_gpu": Package("gpu/trident_gpu", OURS - {"trident", "trident_gpu"}),
    "trident_gateway": Package(
        "gateway/trident_gateway",
        OURS - {"trident_gateway", "trident_client"},
        allowed=frozenset({"numpy", "fastapi", "pydantic", "starlette", "uvicorn"}),
    ),
    "model_repository": Package("model_repository", OURS - {"trident", "trident_gpu"}),
}


@dataclass(frozen=True)
class Import:
    """One import: the name in full, with what is taken from a module, and the top-level module of it."""

    name: str
    line: int
    inside_function: bool

    @property
    def module(self) -> str:
        return self.name.partition(".")[0]


def imports_in(node: ast.AST, *, inside_function: bool = False) -> Iterator[Import]:
    """Yield what a syntax tree imports by absolute name, calls that import a literal name included."""
    names: list[str] = []
    match node:
        case ast.Import():
            names = [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module), level=0):
            names = [f"{module}.{alias.name}" for alias in node.names]
        case ast.Call(
            func=ast.Name("__import__" | "import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            names = [module]
        case ast.Call(func=ast.Name("need"), args=[_, ast.Constant(value=str(module))]):  # of trident.commands.output
            names = [module]
    for name in names:
        yield Import(name, node.lineno, inside_function)  # type: ignore[attr-defined]
    inside = inside_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from imports_in(child, inside_function=inside)
