"""Finds a real tritonserver: the container's, one on the path, or the one inside the nvidia-pytriton wheel.

The wheel's server is the same program as the container's, with the Python backend and the local response cache. It
lacks a layout that it can run from: the backend's stub has to lie beside its library, in the flavour of the running
Python. ``find_tritonserver`` lays that out once in a cache folder.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from trident.errors import ServerError
from trident.staging import scratch_folder

CONTAINER = Path("/opt/tritonserver")
WHEEL = "nvidia-pytriton"
STUB = "triton_python_backend_stub"
REMEDY = "install one with pip install 'trident-search[triton]', or run inside NVIDIA's Triton image"


@dataclass(frozen=True, kw_only=True)
class TritonInstallation:
    """A tritonserver and what it needs to run."""

    executable: Path
    backends: Path  # folder of backends
    caches: Path  # folder of response caches
    libraries: tuple[Path, ...]  # folders that go in front of LD_LIBRARY_PATH

    def environment(self) -> dict[str, str]:
        """Return this process's environment, changed so that the server finds its libraries and this Python."""
        environment = dict(os.environ)
        paths = [*map(str, self.libraries), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
        # The stub runs whichever python3 comes first; it has to be the one that has trident installed.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # a __pycache__ in the repository would reload the model
        environment["PYTHONUNBUFFERED"] = "1"
        return environment


def find_tritonserver(executable: Path | None = None) -> TritonInstallation:
    """Return the tritonserver to use.

    Args:
        executable: A program to use; None looks on the path, then for the container's, then for the wheel's.

    Raises:
        ServerError: If there is none, or the given one does not exist.
    """
    if executable is None:
        on_path = shutil.which("tritonserver", path=f"{os.environ.get('PATH', '')}:{CONTAINER / 'bin'}")
        if on_path is None:
            return _in_wheel()
        executable = Path(on_path).resolve()
    if not executable.is_file():
        raise ServerError(f"tritonserver {executable} does not exist: {REMEDY}")
    root = executable.parents[1]
    if not (root / "backends").is_dir():
        raise ServerError(f"tritonserver {executable} has no folder {root / 'backends'} beside it: {REMEDY}")
    return TritonInstallation(
        executable=executable, backends=root / "backends", caches=root / "caches", libraries=_python_library()
    )


def _in_wheel() -> TritonInstallation:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(f"no tritonserver on the path and no {WHEEL} wheel: {REMEDY}")
    package = Path(next(iter(spec.submodule_search_locations)))
    root = package / "tritonserver"
    executable = root / "bin" / "tritonserver"
    if not os.access(executable, os.X_OK):
        try:
            executable.chmod(0o755)
        except OSError as error:
            raise ServerError(f"{executable} must be executable: run chmod +x on it ({error.strerror})") from error
    return TritonInstallation(
        executable=executable,
        backends=_lay_out_backends(root),
        caches=root / "caches",
        libraries=(package.parent / "nvidia_pytriton.libs", *_python_library()),
    )


def _lay_out_backends(root: Path) -> Path:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / python / STUB
    if not stub.is_file():
        known = ", ".join(sorted(path.name for path in (root / "python_backend_stubs").iterdir()))
        raise ServerError(f"the {WHEEL} wheel has no Python backend for Python {python}, only for {known}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trident"
    name = f"backends-{importlib.metadata.version(WHEEL)}-{python}"
    if (cache / name / "python" / STUB).is_file():
        return cache / name
    with scratch_folder(cache, name) as scratch:
        backend = scratch / "backends" / "python"
        shutil.copytree(root / "backends" / "python", backend)
        shutil.copyfile(stub, backend / STUB)
        (backend / STUB).chmod(0o755)
        try:
            backend.parent.rename(cache / name)
        except OSError:
            if not (cache / name / "python" / STUB).is_file():  # else another process was faster
                raise
    return cache / name


def _python_library() -> tuple[Path, ...]:
    """Return the folder of libpython where this Python is built with a shared library; the stub links to it."""
    folder = sysconfig.get_config_var("LIBDIR")
    library = sysconfig.get_config_var("LDLIBRARY") or ""
    return (Path(folder),) if folder and ".so" in library and (Path(folder) / library).exists() else ()
