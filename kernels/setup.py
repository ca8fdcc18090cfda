"""Builds the modules; instruction sets are chosen where they run, not where they are built.

GCC and clang, on x86-64 and on ARM (aarch64): a file of another processor's instructions is empty.
"""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

# Sums stay in the order in which they are written: an embedding must not depend on how a loop was unrolled.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
ENCODER, INDEX = Path("src"), Path("src/index")


def files(folder: Path, pattern: str) -> list[str]:
    """Return what of a folder is compiled, or included."""
    return sorted(str(path) for path in folder.glob(pattern))


setup(
    ext_modules=[
        Pybind11Extension(
            "trident_kernels",
            files(ENCODER, "*.cpp"),
            depends=files(ENCODER, "*.h"),
            cxx_std=17,
            extra_compile_args=[*FLAGS, "-ffp-contract=fast", "-pthread"],
            extra_link_args=["-pthread"],
        ),
        Pybind11Extension(
            "trident_index_kernels",
            [*files(INDEX, "*.cpp"), str(ENCODER / "gang.cpp")],
            depends=[*files(INDEX, "*.h"), str(ENCODER / "target.h"), str(ENCODER / "gang.h")],
            cxx_std=17,
            # A product is rounded before it is added: a graph has the same bytes, a cosine the same bits, everywhere.
            extra_compile_args=[*FLAGS, "-ffp-contract=off", "-pthread"],
            extra_link_args=["-pthread"],
        ),
    ]
)
