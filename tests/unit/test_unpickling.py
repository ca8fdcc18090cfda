"""No source unpickles, evaluates text, or lets a model bring code: files are read as data."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for root in ("core", "train", "export", "gpu", "client", "model_repository", "bench")
    for path in (REPOSITORY / root).rglob("*.py")
)
UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "pandas"}
EVALUATORS = {"eval", "exec", "compile"}
# Keywords that open the door, and the only value that keeps it shut.
SHUT = {"trust_remote_code": False, "allow_pickle": False, "weights_only": True}


def doors(source: str) -> list[str]:
    """Return what in a source may run code that a file brings."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.partition(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in UNPICKLERS:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            found += _open_call(node)
    return found


def _open_call(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    found = [
        f"{name}({key}=...)"
        for key, shut in SHUT.items()
        if key in given and not (isinstance(given[key], ast.Constant) and given[key].value is shut)
    ]
    if name == "torch.load" and "weights_only" not in given:
        found.append(name)
    if name in EVALUATORS or name in ("yaml.load", "yaml.unsafe_load"):
        found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_a_source_opens_no_door(path: Path) -> None:
    assert doors(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "def read():\n    import dill.source",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=config.trust)",
        "eval(text)",
        "yaml.load(text)",
    ],
)
def test_an_open_door_is_found(source: str) -> None:
    assert len(doors(source)) == 1


def test_the_sources_are_all_there() -> None:
    assert len(SOURCES) > 100
