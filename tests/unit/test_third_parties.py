"""Whatever a package imports comes with one of its extras."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from source_imports import OURS, PACKAGES, REPOSITORY, imports_in

# Extras whose requirements a package's sources may import; the bare requirements come on top.
EXTRAS_OF = {
    "trident": ("serve", "train", "export", "bench", "trees", "cluster"),
    "trident_train": ("train",),
    "trident_export": ("export",),
    "trident_gpu": ("gpu",),
    "trident_client": ("otel", "langchain", "llama-index", "haystack"),
    "trident_gateway": ("gateway",),
    "model_repository": ("serve",),
}
# Modules that no requirement of ours is named for: the one that brings them, the server that does, or kernels/.
BROUGHT_BY = {
    "aiohttp": "tritonclient",
    "google": "tritonclient",
    "huggingface_hub": "tokenizers",
    "opentelemetry": "opentelemetry-api",
    "triton_python_backend_utils": "tritonserver",
}
BESIDE = {"tritonserver", "trident-kernels"}  # what no extra brings


@pytest.mark.parametrize("name", PACKAGES)
def test_third_parties_come_with_the_package_s_extras(name):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    client = tomllib.loads((REPOSITORY / "client/pyproject.toml").read_text("utf-8"))["project"]
    if name == "trident_client":
        project = client
    lines = [*client["dependencies"], *(line for e in EXTRAS_OF[name] for line in project["optional-dependencies"][e])]
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
