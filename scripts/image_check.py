"""Runs the installs of Dockerfile.triton without Docker, in a fresh environment of the image's Python.

    python scripts/image_check.py python3.12        (called by `make image-check`)

The builder's RUN lines are run as they stand, with a temporary folder for /opt/trident and the files that COPY brings.
Lines that need the image itself (Ubuntu's packages, its TensorRT libraries) are named and left out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = "/opt/trident"  # where the image has it
NEEDS_THE_IMAGE = ("apt-get", "ldconfig")
PROOF = """
import importlib.metadata, importlib.util, sys
import numpy, onnxruntime, tokenizers, trident, trident_client, trident_index_kernels, trident_kernels
import trident_export.engine.cache, trident_export.repository
assert sys.version_info[:2] == (3, 12), f"the image has Python 3.12, got {sys.version}"
assert int(numpy.__version__.split(".")[0]) < 2, f"Triton's Python backend needs numpy<2, got {numpy.__version__}"
assert importlib.util.find_spec("torch") is None, "an image that serves has no torch"
trident_export.repository.template_folder()
assert trident_index_kernels.instructions()[-1] == "plain"
try:
    import tensorrt
except ImportError as error:  # up to the libraries, which are the image's
    assert any(name in str(error) for name in ("libnvinfer", "libnvonnxparser")), error
assert trident_kernels.instructions(), "the kernels run on no instruction set of this processor"
bindings = importlib.metadata.version("tensorrt-cu13-bindings")
print(f"Python {sys.version.split()[0]}, numpy {numpy.__version__}, bindings of TensorRT {bindings}")
"""


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return (instruction, rest) of each line of a Dockerfile; comments are gone, continued lines are joined."""
    code = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    lines = [line.strip() for line in re.sub(r"\\\n", "", code).splitlines() if line.strip()]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def check(python: str, folder: Path) -> None:
    """Run the builder's lines below a folder, then prove what came out."""
    environment, sources = folder / "trident", folder / "src"
    sources.mkdir()
    variables = {
        **os.environ,
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for instruction, rest in builder(instructions((REPOSITORY / "Dockerfile.triton").read_text("utf-8"))):
        if instruction == "ARG":
            name, _, value = rest.partition("=")
            variables[name] = value
        elif instruction == "COPY":
            copy(rest.split(), sources)
        elif instruction == "RUN" and any(program in rest for program in NEEDS_THE_IMAGE):
            print(f"left out, it needs the image: {rest[:90]}…")
        elif instruction == "RUN":
            line = rest.replace(ENVIRONMENT, str(environment)).replace("python3 -m venv", f"{python} -m venv")
            print(f"RUN {rest[:110]}")
            subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=sources, env=variables, check=True)
    program = environment / "bin" / "python"
    subprocess.run([program, "-m", "pip", "check"], cwd=folder, env=variables, check=True)
    subprocess.run([program, "-I", "-c", PROOF], cwd=folder, env=variables, check=True)
    subprocess.run([environment / "bin" / "trident", "--version"], cwd=folder, env=variables, check=True)


def builder(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the instructions of the stage `builder`."""
    stages = [place for place, (instruction, _) in enumerate(found) if instruction == "FROM"]
    start = next(place for place in stages if found[place][1].endswith(" AS builder"))
    return found[start : min(place for place in stages if place > start)]


def copy(names: list[str], sources: Path) -> None:
    """Do what COPY does, for names inside the repository."""
    *originals, target = names
    for name in originals:
        original = REPOSITORY / name
        if original.is_dir():
            shutil.copytree(original, sources / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(original, sources / target / original.name)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        check(sys.argv[1], Path(temporary))
    print("image check: passed")
