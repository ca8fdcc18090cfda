"""The client on every interpreter that it promises and this machine has, with numpy 1 and 2; installs, so online."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[3]
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
WITHOUT_NUMPY_1 = ("3.13", "3.14")
PROGRAM = """
import asyncio, numpy, sys
from trident_client import AsyncSearchClient, SearchClient, ServerUnavailableError

async def ask(url):
    async with AsyncSearchClient(url, timeout_s=5) as client:
        await client.search("sofa")

def ask_at_once(url):
    with SearchClient(url, timeout_s=5) as client:
        client.search("sofa")

for url in ("grpc://127.0.0.1:9", "http://127.0.0.1:9"):
    for question in (ask_at_once, lambda url: asyncio.run(ask(url))):
        try:
            question(url)
        except ServerUnavailableError as error:
            assert "no server answers at 127.0.0.1:9: start" in str(error), error
        else:
            raise AssertionError(url)
print(sys.version_info[:2], numpy.__version__)
"""


def interpreters() -> Iterator[tuple[str, str]]:
    """Yield (version, path) of the interpreters on PATH and of pyenv."""
    for version in VERSIONS:
        built = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python3"))
        for path in (shutil.which(f"python{version}"), *map(str, built)):
            if path and subprocess.run([path, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                yield version, path
                break


@pytest.mark.parametrize(
    ("version", "path", "numpy"),
    [
        pytest.param(version, path, numpy, id=f"{version}, {numpy}")
        for version, path in interpreters()
        for numpy in ("numpy<2", "numpy>=2")
        if numpy == "numpy>=2" or version not in WITHOUT_NUMPY_1
    ],
)
def test_the_client_runs(tmp_path: Path, version: str, path: str, numpy: str) -> None:
    python = tmp_path / "venv/bin/python"
    subprocess.run([path, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, numpy, f"{REPOSITORY / 'client'}[otel]"], check=True, cwd=tmp_path)
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"({version.replace('.', ', ')}) {'1.' if '<' in numpy else '2.'}")
