"""The kernels on ARM, under qemu, and compiled by clang: what the module of this processor computes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trident_index_kernels
import trident_kernels
from numpy.typing import NDArray
from programs import MUST_RUN, allow_skip

from trident.index.codes import encode

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "kernels" / "src"
FLAGS = ("-std=c++17", "-O2", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Werror")
CONTRACT = {"encoder": "-ffp-contract=fast", "index": "-ffp-contract=off"}  # as kernels/setup.py has it
ARM = "aarch64-linux-gnu"
PACKAGES = "on Debian and Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user clang"
WIDTH, HEADS, INNER, VOCABULARY, POSITIONS, LAYERS, EPSILON = 44, 2, 72, 90, 64, 2, 1e-12
LINEAR = (
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    ("attention.output.dense",),
    ("intermediate.dense",),
    ("output.dense",),
)
DEPTH, LINKS, EF, ROUND = 10, 8, 40, 50


@dataclass(frozen=True)
class Compiler:
    """How programs are compiled and run, and which kernels they must have."""

    command: tuple[str, ...]
    runner: tuple[str, ...]
    kernels: tuple[str, ...]
    in_8_bits: tuple[str, ...]
    dots: tuple[str, ...]

    def build(self, name: str, folder: Path) -> Path:
        """Compile a program of this folder with the kernels' sources, once."""
        sources = sorted((SOURCES / "index" if name == "index" else SOURCES).glob("*.cpp"))
        sources += [SOURCES / "gang.cpp"] if name == "index" else []
        bound = {"module.cpp", "binding.cpp"}  # to Python
        program = folder / "-".join([*self.command, name])
        if program.is_file():
            return program
        command = [*self.command, *FLAGS, CONTRACT[name], f"-I{SOURCES}", str(HERE / f"{name}_program.cpp")]
        command += [str(source) for source in sources if source.name not in bound]
        done = subprocess.run([*command, "-pthread", "-static", "-o", str(program)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return program

    def run(self, program: Path, given: Path) -> tuple[str, ...]:
        """Return what a program printed that read a file and wrote others beside it."""
        command = [*self.runner, str(program), str(given), f"{given}.out"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return tuple(done.stdout.split())


def compiler(name: str) -> Compiler:
    """Return a compiler, or skip the test where it is missing."""
    arm = "arm" in name
    command = ["clang++" if "clang" in name else f"{ARM}-g++"]
    needed = dict.fromkeys([*command, *(["qemu-aarch64", f"{ARM}-g++"] if arm else [])])  # clang links by the latter's
    missing = [each for each in needed if shutil.which(each) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: {PACKAGES}"
        allow_skip("compilers", reason)
        pytest.skip(reason)
    if not arm:
        if platform.machine() != "x86_64":
            pytest.skip("this processor is not of x86-64")
        here, in_8_bits = trident_kernels.instructions(), trident_kernels.instructions_8_bits()
        return Compiler(tuple(command), (), tuple(here), tuple(in_8_bits), tuple(trident_index_kernels.instructions()))
    if "clang" in name:
        command.append(f"--target={ARM}")
    processor = "cortex-a57" if "old" in name else "max"  # of Armv8.0, which has no dot product, and of all there is
    in_8_bits = () if "old" in name else ("neon",)
    return Compiler(tuple(command), ("qemu-aarch64", "-cpu", processor), ("neon",), in_8_bits, ("neon", "plain"))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module", params=["clang", "arm", "arm by clang", "old arm"])
def other(request: pytest.FixtureRequest) -> Compiler:
    return compiler(request.param)


@dataclass(frozen=True)
class Made:
    """A model of random weights: arrays by BertModel's names, their 8-bit form, and the file that a program reads."""

    weights: dict[str, NDArray[np.float32]]
    codes: dict[str, NDArray[Any]]
    ids: NDArray[np.int32]
    lengths: list[int]
    path: Path

    def embeddings(self, instructions: str, codes: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return what the module of this processor embeds, (rows, WIDTH)."""
        bert = trident_kernels.BertEncoder(
            self.weights, heads=HEADS, epsilon=EPSILON, mean=True, instructions=instructions, codes=codes
        )
        return np.asarray(bert.embed(self.ids, self.lengths))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    generator = np.random.default_rng(0)
    weights: dict[str, NDArray[np.float32]] = {}
    codes: dict[str, NDArray[Any]] = {}
    content: list[NDArray[Any]] = []
    lengths = [1, 2, 3, 5, 8, 13, 21, 34, 7, 7]
    ids = generator.integers(0, VOCABULARY, sum(lengths)).astype(np.int32)
    sizes = [WIDTH, HEADS, INNER, VOCABULARY, POSITIONS, LAYERS, len(lengths), 1]
    content += [np.array(sizes, dtype=np.int32), np.array([EPSILON], dtype=np.float32)]

    def random(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
        return (generator.normal(size=shape) * scale).astype(np.float32)

    def embedding(name: str, rows: int) -> NDArray[np.float32]:
        return weights.setdefault(f"embeddings.{name}_embeddings.weight", random(rows, WIDTH))

    def norm(name: str) -> None:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = 1 + random(WIDTH, scale=0.1), random(WIDTH, scale=0.1)
        content.extend([weights[f"{name}.weight"], weights[f"{name}.bias"]])

    def linear(names: list[str], outputs: int, inputs: int) -> None:
        columns, step, zero = generator.uniform(0.5, 2, inputs), 2 / 255, 120
        for name in names:
            weights[f"{name}.weight"], weights[f"{name}.bias"] = random(outputs, inputs, scale=0.2), random(outputs)
            scaled = weights[f"{name}.weight"] / columns
            scale = np.abs(scaled).max(1) / 127
            codes[f"{name}.weight"] = np.rint(scaled / scale[:, None]).astype(np.int8)
            codes[f"{name}.weight"][:, 0] = -128  # the lowest that a graph may have
            codes[f"{name}.scale"] = scale.astype(np.float32)
            codes[f"{name}.columns"] = columns.astype(np.float32)
            codes[f"{name}.step"] = np.array([step], dtype=np.float32)
            codes[f"{name}.zero"] = np.array([zero], dtype=np.int32)
        content.extend(np.concatenate([weights[f"{name}.{part}"] for name in names]) for part in ("weight", "bias"))
        content.extend(np.concatenate([codes[f"{name}.{part}"] for name in names]) for part in ("weight", "scale"))
        content.extend(codes[f"{names[0]}.{part}"] for part in ("columns", "step", "zero"))

    content.append(embedding("word", VOCABULARY))
    content.append(embedding("position", POSITIONS) + embedding("token_type", 2)[0])
    norm("embeddings.LayerNorm")
    for number in range(LAYERS):
        together, attended, up, down = ([f"encoder.layer.{number}.{name}" for name in names] for names in LINEAR)
        linear(together, WIDTH, WIDTH)
        linear(attended, WIDTH, WIDTH)
        norm(f"encoder.layer.{number}.attention.output.LayerNorm")
        linear(up, INNER, WIDTH)
        linear(down, WIDTH, INNER)
        norm(f"encoder.layer.{number}.output.LayerNorm")
    content += [np.array(lengths, dtype=np.int32), ids]
    path = tmp_path_factory.mktemp("encoder") / "model"
    path.write_bytes(b"".join(np.ascontiguousarray(each).tobytes() for each in content))
    return Made(weights, codes, ids, lengths, path)


def test_the_encoder_embeds_as_it_does_here_and_the_same_in_every_batch(
    other: Compiler, made: Made, programs: Path, tmp_path: Path
) -> None:
    """Widths that fill no panel, lengths of one tile and of several; the program itself compares rows alone."""
    given = tmp_path / "model"
    shutil.copyfile(made.path, given)
    names = other.run(other.build("encoder", programs), given)
    expected = {f"{name}.float32" for name in other.kernels} | {f"{name}.8bits" for name in other.in_8_bits}
    assert set(names) == expected
    for name in names:
        found = np.fromfile(f"{given}.out.{name}", dtype=np.float32).reshape(len(made.lengths), WIDTH)
        if name.endswith("float32"):
            np.testing.assert_allclose(found, made.embeddings("", {}), atol=5e-6)
        elif trident_kernels.instructions_8_bits():
            cosines = (found * made.embeddings("", made.codes)).sum(1)
            assert np.median(cosines) > 0.99999
            assert cosines.min() > 0.999  # a number halfway between two integers goes to either
        else:  # the integers are far from float32's, for one column of each weight is
            assert np.isfinite(found).all()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """What a program reads, and the bytes of the graph and of what was found that the module has here."""
    generator = np.random.default_rng(1)
    dimension, count, queries = 48, 600, 20
    vectors = generator.normal(size=(count, dimension)).astype(np.float32)
    vectors[50:100] = vectors[:50]  # the same
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = generator.normal(size=(queries, dimension)).astype(np.float32)
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    codes, order = encode(vectors), generator.permutation(count).astype(np.uint32)
    levels = np.minimum(generator.geometric(0.8, count) - 1, 4).astype(np.uint8)
    sizes = np.array([count, codes.rows.shape[1], dimension, queries, DEPTH, LINKS, EF, ROUND], dtype=np.uint32)
    content = (sizes, codes.rows, codes.scales, codes.lost, vectors, order, levels, asked)
    path = tmp_path_factory.mktemp("index") / "vectors"
    path.write_bytes(b"".join(each.tobytes() for each in content))
    builder = trident_index_kernels.Builder(
        codes.rows, codes.scales, order, levels, links=LINKS, ef=EF, largest_round=ROUND
    )
    while builder.add_round() < count:
        pass
    lowest, upper, entry, upper_entry = builder.graph()
    index = trident_index_kernels.Index(codes.rows, codes.scales, codes.lost, vectors, dimension=dimension)
    index.set_graph(lowest, upper, entry=entry, upper_entry=upper_entry)
    near, near_cosines, _ = index.search(asked, depth=DEPTH, ef=EF, most=count, doubt=1.0)
    best, best_cosines = index.scan(asked, depth=DEPTH)
    return path, b"".join(each.tobytes() for each in (lowest, upper, near, near_cosines, best, best_cosines))


def test_the_index_has_the_same_bytes(
    other: Compiler, searched: tuple[Path, bytes], programs: Path, tmp_path: Path
) -> None:
    """Graph, labels and cosines, by every form of the products."""
    path, expected = searched
    given = tmp_path / "vectors"
    shutil.copyfile(path, given)
    names = other.run(other.build("index", programs), given)
    assert names == other.dots
    for name in names:
        assert Path(f"{given}.out.{name}").read_bytes() == expected, name


def test_a_skip_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", "")
    monkeypatch.delenv(MUST_RUN, raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{ARM}-g\\+\\+ and qemu-aarch64 missing: on Debian"):
        compiler("arm")
    monkeypatch.setenv(MUST_RUN, "browser compilers")
    with pytest.raises(RuntimeError, match=r"missing: on Debian .*TRIDENT_MUST_RUN names compilers"):
        compiler("arm")
