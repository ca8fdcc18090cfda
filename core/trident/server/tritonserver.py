"""The program tritonserver: where it is, which options it takes, what its log says went wrong.

It is one that is named, one on the path, NVIDIA's container's, or the one inside the nvidia-pytriton wheel.
The wheel's server is the same program as the container's, with the Python backend and the local response cache. It
lacks a layout that it can run from: the backend's stub has to lie beside its library, in the flavour of the running
Python. ``find_tritonserver`` lays that out once in a cache folder.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import ipaddress
import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trident.errors import ConfigError, ServerError, TridentError
from trident.generation.staging import scratch_folder
from trident.server.tls import TlsFiles

VARIABLE = "TRIDENT_TRITONSERVER"
CONTAINER = Path("/opt/tritonserver")
LOOPBACK = "127.0.0.1"
WHEEL = "nvidia-pytriton"
STUB = "triton_python_backend_stub"
REMEDY = "install one with pip install 'trident-search[triton]', or run inside NVIDIA's Triton image"
NO_GPU = "CudaDriverHelper has not been initialized."  # an error line on every machine without a GPU
# An error line, what protobuf says of a config.pbtxt, or the last line of a Python traceback.
REASON = re.compile(
    r"^(?:E\d{4} [\d:.]+ +\d+ [\w./]+:\d+\] |\[libprotobuf ERROR [^\]]*\] "
    r"|Traceback \(most recent call last\):\n(?:[ \t].*\n)+)(?P<text>\S.*)$",
    re.MULTILINE,
)
# What the program itself says, without a level: about its options, or when nothing else was at fault.
COMPLAINT = re.compile(r"^(?:\S+: (?:unrecognized )?option '|Bad option|Invalid option value|error: creating server)")
# Runs the program as this process, which the kernel stops when the parent dies, by SIGKILL too.
LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))  # PR_SET_PDEATHSIG, kept through execv
if os.getppid() == int(sys.argv[1]):  # else the parent died before
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, kw_only=True)
class TritonInstallation:
    """A tritonserver and what it needs to run."""

    executable: Path
    backends: Path  # folder of backends
    caches: Path  # folder of response caches
    libraries: tuple[Path, ...]  # folders that go in front of LD_LIBRARY_PATH

    def command(self, options: list[str]) -> list[str]:
        """Return the command that runs the server until this process ends.

        The kernel watches the thread that starts the command: it has to live as long as the server is wanted. A
        launcher is used because code between fork and exec (``preexec_fn``) is unsafe where threads run.
        """
        return [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), str(self.executable), *options]

    def environment(self) -> dict[str, str]:
        """Return this process's environment, changed so that the server finds its libraries and this Python."""
        environment = dict(os.environ)
        paths = [*map(str, self.libraries), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
        # The stub runs whichever python3 comes first; it has to be the one that has trident installed.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
        # For what models start. The stub itself ignores PYTHON* variables and writes a __pycache__ beside model.py,
        # which makes the next load of that model a reload, unless a file of that name is there (measured on 2.51).
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        environment["PYTHONUNBUFFERED"] = "1"
        return environment


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """What to serve and where to listen.

    Raises:
        ConfigError: If the host is no IPv4 address, a port is out of range or used twice, or a time or the size is
            not positive.
    """

    model_repository: Path
    load_models: tuple[str, ...]  # loaded at the start, with what they need; others only when asked for
    host: str = LOOPBACK
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    model_config_name: str | None = None  # NAME picks configs/NAME.pbtxt of each model that has one
    cache_size_bytes: int | None = None  # of the response cache; None: no cache
    start_timeout_s: float = 120.0  # without coming any further: trident.processes.loading
    exit_timeout_s: int = 5  # how long requests under way may take when stopping
    tritonserver: Path | None = None  # the program; None: find it
    tls: TlsFiles | None = None  # of gRPC; HTTP, which has none, then listens on this machine only
    options: tuple[str, ...] = ()  # further options, as tritonserver takes them
    environment: Mapping[str, str] = field(default_factory=dict)  # variables of the server and its models

    def __post_init__(self) -> None:
        """Check host, ports, times and size."""
        try:
            ipaddress.IPv4Address(self.host)
        except ValueError as error:  # the server's HTTP would take a name and listen nowhere
            raise ConfigError(f"--host must be an IPv4 address such as 127.0.0.1, got '{self.host}'") from error
        ports = self.ports()
        for option, port in ports.items():
            if not 1 <= port <= 65535:
                raise ConfigError(f"--{option} must be 1 to 65535, got {port}")
        if len(set(ports.values())) < len(ports):
            shown = ", ".join(f"--{option} {port}" for option, port in ports.items())
            raise ConfigError(f"the three ports must differ, got {shown}")
        if not self.start_timeout_s > 0:
            raise ConfigError(f"--start-timeout must be > 0 seconds, got {self.start_timeout_s:g}")
        if self.exit_timeout_s <= 0:
            raise ConfigError(f"exit_timeout_s must be > 0, got {self.exit_timeout_s}")
        if self.cache_size_bytes is not None and self.cache_size_bytes < 1:
            raise ConfigError(f"cache_size_bytes must be >= 1, got {self.cache_size_bytes}")

    @property
    def http_host(self) -> str:
        """Where HTTP listens: Triton's has no TLS, and open beside it would be a way around."""
        return self.host if self.tls is None else LOOPBACK

    def ports(self) -> dict[str, int]:
        """Return the ports by the name of their option."""
        return {"http-port": self.http_port, "grpc-port": self.grpc_port, "metrics-port": self.metrics_port}

    def command_options(self, installation: TritonInstallation) -> list[str]:
        """Return the options that the program takes for this, without those that tell two servers apart."""
        options = [
            f"--model-repository={self.model_repository.resolve()}",
            "--model-control-mode=explicit",
            *(f"--load-model={model}" for model in self.load_models),
            f"--backend-directory={installation.backends}",
            f"--http-address={self.http_host}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={self.exit_timeout_s}",
            "--metrics-config=summary_latencies=true",  # quantiles beside the sums
            "--rate-limit=execution_count",  # instances take turns by the priorities in config.pbtxt
            "--disable-auto-complete-config",  # what config.pbtxt says is what is served
        ]
        if self.model_config_name is not None:
            options.append(f"--model-config-name={self.model_config_name}")
        if self.cache_size_bytes is not None:
            options += [
                f"--cache-directory={installation.caches}",
                f"--cache-config=local,size={self.cache_size_bytes}",
            ]
        if self.tls is not None:
            options += self.tls.options()
        return [*options, *self.options]


def find_tritonserver(executable: Path | None = None) -> TritonInstallation:
    """Return the tritonserver to use.

    Args:
        executable: A program to use; None takes the one that the variable ``TRIDENT_TRITONSERVER`` names, else looks
            on the path, then for the container's, then for the wheel's.

    Raises:
        ServerError: If there is none, or the given one does not exist or cannot run.
    """
    named = os.environ.get(VARIABLE)
    where = ""
    if executable is None and named:
        executable, where = Path(named), f" (from {VARIABLE})"
    if executable is None:
        on_path = shutil.which("tritonserver", path=f"{os.environ.get('PATH', '')}:{CONTAINER / 'bin'}")
        if on_path is None:
            return _in_wheel()
        executable = Path(on_path)
    executable = executable.resolve()
    root = executable.parent.parent
    if not executable.is_file():
        raise ServerError(f"tritonserver {executable}{where} does not exist: {REMEDY}")
    if not (root / "backends").is_dir():
        raise ServerError(f"tritonserver {executable}{where} has no folder {root / 'backends'} beside it: {REMEDY}")
    if not os.access(executable, os.X_OK):
        raise ServerError(f"tritonserver {executable}{where} is not executable: run chmod +x on it")
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
        known = ", ".join(sorted(path.parent.name for path in root.glob(f"python_backend_stubs/*/{STUB}")))
        raise ServerError(
            f"the {WHEEL} wheel has no Python backend for Python {python}, only for {known or 'none'}: use another "
            "Python, or run inside NVIDIA's Triton image"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trident"
    name = f"backends-{importlib.metadata.version(WHEEL)}-{python}"
    if not (cache / name / "python" / STUB).is_file():
        try:
            _copy_backend(root, stub, cache / name)
        except (TridentError, OSError) as error:
            raise ServerError(
                f"the Python backend cannot be laid out in {cache}: {error}; set XDG_CACHE_HOME to a folder that can "
                "be written"
            ) from error
    return cache / name


def _copy_backend(root: Path, stub: Path, backends: Path) -> None:
    with scratch_folder(backends.parent, backends.name) as scratch:
        backend = scratch / "backends" / "python"
        shutil.copytree(root / "backends" / "python", backend, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(stub, backend / STUB)
        (backend / STUB).chmod(0o755)
        try:
            backend.parent.rename(backends)
        except OSError:
            if not (backends / "python" / STUB).is_file():  # else another process was faster
                raise


def _python_library() -> tuple[Path, ...]:
    """Return the folder of libpython where this Python is built with a shared library; the stub links to it."""
    folder = sysconfig.get_config_var("LIBDIR")
    library = sysconfig.get_config_var("LDLIBRARY") or ""
    return (Path(folder),) if folder and ".so" in library and (Path(folder) / library).exists() else ()


def error_lines(log: str) -> list[str]:
    """Return what a tritonserver's log says went wrong, a line each, said once; its last lines when it says nothing.

    A Python model's exception keeps the innermost place of its traceback; what repeats another line without naming the
    model is left out.
    """
    plain = [line for line in log.splitlines() if line.strip() and not line.startswith(("|", "+-"))]
    found = list(dict.fromkeys(_one_line(match["text"]) for match in REASON.finditer(log)))
    reasons = [line for line in found if line != NO_GPU and not any(line != other and line in other for other in found)]
    return reasons or [line for line in plain if COMPLAINT.match(line)] or plain[-5:]


def _one_line(text: str) -> str:
    if text.startswith('"') and text.endswith('"'):
        try:
            text = json.loads(text, strict=False)
        except ValueError:  # quoted in another way than JSON's
            text = text[1:-1]
    reason, _, frames = text.removeprefix("ERROR: Failed to create instance: ").partition("\n\nAt:\n")
    place = frames.strip().partition("\n")[0]
    return " ".join(reason.split()) + (f" (at {place})" if place else "")
