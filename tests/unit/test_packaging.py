"""What is installed, built and documented agrees with pyproject.toml."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import trident

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
CLIENT = tomllib.loads((REPOSITORY / "client/pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONSTRAINTS = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in (line.split("==") for line in CONSTRAINTS if not line.startswith("#"))
}
PACKAGE_ROOTS = {
    "trident": "core/trident",
    "trident_train": "train/trident_train",
    "trident_export": "export/trident_export",
    "trident_gpu": "gpu/trident_gpu",
    "trident_gateway": "gateway/trident_gateway",
}
DATA_ROOTS = {"trident_export/model_repository": "model_repository", "trident_train/recipes": "train/recipes"}
# What the wheel holds beside Python: moving a module must not leave behind what it reads.
DATA_FILES = {
    "trident": (
        "comparison/templates/comparison.html.j2 py.typed server/catalogue_model/config.pbtxt templates/page.css"
    ),
    "trident_export": (
        "py.typed model_repository/embed/config.pbtxt model_repository/embed/configs/cpu.pbtxt "
        "model_repository/encoder/config.pbtxt model_repository/encoder/configs/onnxruntime.pbtxt "
        "model_repository/encoder/configs/stages.pbtxt model_repository/encoder/configs/torch.pbtxt "
        "model_repository/pipeline/config.pbtxt model_repository/retriever/config.pbtxt "
        "model_repository/search/config.pbtxt model_repository/search/configs/cpu.pbtxt "
        "model_repository/suggest/config.pbtxt model_repository/suggester/config.pbtxt "
        "model_repository/tokenizer/config.pbtxt model_repository/tokenizer/configs/stages.pbtxt "
        "model_repository/tokenizer/configs/torch.pbtxt"
    ),
    "trident_gpu": "py.typed",
    "trident_gateway": ("py.typed page/api.js page/facets.js page/hits.js page/index.html page/main.js page/page.css"),
    "trident_train": (
        "py.typed recipes/demo.toml recipes/esci-e5-large-v2.toml recipes/general.toml "
        "recipes/icecat.toml recipes/movies-distil.toml recipes/movies-reranker.toml recipes/movies.toml "
        "report/templates/card.md.j2 report/templates/report.html.j2"
    ),
}
VOCABULARY = (
    "attributes baby beauty books car clothing computers electronics furniture garden groceries kitchen music office "
    "pets shoes sports tools toys"
)
ALL_REQUIREMENTS = [
    pytest.param(Requirement(line), id=f"{extra}: {line}")
    for extra, lines in {"client": CLIENT["dependencies"], **EXTRAS}.items()
    for line in lines
]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in the repository, without the variables of a make that runs these tests."""
    return subprocess.run(
        ["env", "-u", "MAKEFLAGS", "-u", "MAKELEVEL", "-u", "MFLAGS", "make", "--no-print-directory", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def source_files(root: Path) -> set[str]:
    """Return the files below ``root``, relative to it, without what Python leaves there."""
    return {
        file.relative_to(root).as_posix()
        for file in root.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_the_client_asks_for_numpy_and_tritonclient():
    requirements = [Requirement(line) for line in CLIENT["dependencies"]]
    assert {(found.name, frozenset(found.extras)) for found in requirements} == {
        ("numpy", frozenset()),
        ("tritonclient", frozenset({"grpc", "http"})),
    }


def test_the_extras_are_those_of_the_documentation():
    extras = "serve triton train trackers export bench tensorrt gpu gateway trees cluster demo dev"
    assert set(EXTRAS) == set(extras.split())


@pytest.mark.parametrize("requirement", ALL_REQUIREMENTS)
def test_constraints_pin_a_version_that_every_extra_accepts(requirement):
    name = canonicalize_name(requirement.name)
    assert name in PINS, f"constraints.txt does not pin {name}: run 'make constraints'"
    assert PINS[name] in requirement.specifier, f"constraints.txt pins {PINS[name]}, pyproject.toml asks {requirement}"


def test_constraints_pin_what_the_installed_requirements_bring():
    missing, seen, open_ends = set(), set(), [Requirement(f"trident-search[{','.join(EXTRAS)}]")]
    while open_ends:
        requirement = open_ends.pop()
        node = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if node in seen:
            continue
        seen.add(node)
        try:
            lines = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra of another platform, or one that these tests do not need
        if node[0] not in PINS and node[0] not in ("trident-search", "trident-client"):
            missing.add(node[0])
        for line in lines:
            child = Requirement(line)
            if any(child.marker is None or child.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
                open_ends.append(child)
    # Which CUDA packages there are depends on the build of torch, which pins them itself.
    assert {name for name in missing if not re.match(r"nvidia-|cuda-|triton$", name)} == set()


def test_constraints_are_sorted_and_fit_every_index():
    names = [line.split("==")[0] for line in CONSTRAINTS if not line.startswith("#")]
    assert names == sorted(set(names))
    assert [name for name, version in PINS.items() if version.local] == []
    assert "torch==2.13.0" in CONSTRAINTS, "only this version of torch has a CPU build everywhere"


def test_versions_agree():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?$", changelog, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    newest, day = headings[1]
    assert newest == PROJECT["version"] == CLIENT["version"] == trident.__version__
    assert day, "a released version carries its date"


def test_make_alone_lists_every_target():
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)) - {"require-python"}
    listed = {line.split()[1] for line in make().stdout.splitlines()}
    assert listed == targets
    assert {"install", "demo", "test", "check", "format", "build", "thin-client", "constraints", "clean"} <= targets


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("", "Trident needs Python 3.11 or 3.12, found neither on PATH"),
        ("false", "Trident needs Python 3.11 or 3.12, got 'false' (PYTHON)"),
    ],
)
def test_make_without_a_usable_python_says_what_to_do(tmp_path, python, message):
    venv = tmp_path / "venv"
    done = make("install", f"PYTHON={python}", f"VENV={venv}")
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[0]
    assert "make PYTHON=" in done.stderr.splitlines()[0]
    assert not venv.exists()


def build(source: Path, folder: Path, *targets: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", *(f"-t{target}" for target in targets), "-d", str(folder)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheels and the sdists of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    for source in (REPOSITORY, REPOSITORY / "client"):
        build(source, folder, "wheel", "sdist")
    return folder


def required_by(wheel: Path) -> list[str]:
    """Return what a wheel asks for without extras."""
    (name,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    lines = zipfile.ZipFile(wheel).read(name).decode().splitlines()
    return [line.removeprefix("Requires-Dist: ") for line in lines if re.match("Requires-Dist: [^;]+$", line)]


def test_the_wheel_holds_the_packages_and_their_data(built):
    (wheel,) = built.glob("trident_search*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} == {
        *PACKAGE_ROOTS,
        f"trident_search-{PROJECT['version']}.dist-info",
    }
    for target, root in {**PACKAGE_ROOTS, **DATA_ROOTS}.items():
        files = source_files(REPOSITORY / root)
        assert files, f"nothing under {root}"
        assert {f"{target}/{file}" for file in files} <= names
    data = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    assert data == {
        *(f"{package}/{file}" for package, files in DATA_FILES.items() for file in files.split()),
        *(f"trident_train/data/sample/vocabulary/{name}.toml" for name in VOCABULARY.split()),
    }


def test_the_client_is_a_wheel_of_its_own(built):
    (wheel,) = built.glob("trident_client*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {f"trident_client/{file}" for file in source_files(REPOSITORY / "client/trident_client")}
    assert "trident_client/py.typed" in names


def test_the_wheel_asks_for_the_client_of_its_version_alone(built):
    (wheel,) = built.glob("trident_search*.whl")
    assert required_by(wheel) == [f"trident-client=={PROJECT['version']}"]
    (client,) = built.glob("trident_client*.whl")
    assert sorted(required_by(client)) == sorted(CLIENT["dependencies"])


def test_an_editable_install_takes_the_client_beside_it(tmp_path):
    program = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    assert required_by(wheel) == [f"trident-client @ {(REPOSITORY / 'client').as_uri()}"]


def test_the_sdist_builds_what_the_wheel_holds(built, tmp_path):
    (sdist,) = built.glob("trident_search*.tar.gz")
    prefix = f"trident_search-{PROJECT['version']}/"
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(prefix) for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    for root in (*PACKAGE_ROOTS.values(), *DATA_ROOTS.values()):
        assert {f"{root}/{file}" for file in source_files(REPOSITORY / root)} <= names
    assert {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE"} <= names
    assert not [name for name in names if name.startswith("client")]
    build(tmp_path / prefix, tmp_path, "wheel")
    (wheel,) = tmp_path.glob("*.whl")
    assert required_by(wheel) == [f"trident-client=={PROJECT['version']}"]


def test_actions_are_pinned_by_commit_and_read_only():
    workflow = (REPOSITORY / ".github/workflows/ci.yml").read_text("utf-8")
    used = re.findall(r"uses: (.+)", workflow)
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    assert "permissions:\n  contents: read\n" in workflow
    assert ": write" not in workflow
