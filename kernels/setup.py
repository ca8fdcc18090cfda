"""Builds the modules; instruction sets are chosen where they run, not where they are built."""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

# Sums stay in the order in which they are written: an embedding must not depend on how a loop was unrolled.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
INDEX = Path("src/index")

setup(
    ext_modules=[
        Pybind11Extension(
            "trident_kernels",
            ["src/module.cpp", "src/avx512.cpp", "src/avx2.cpp", "src/vnni.cpp"],
            depends=["src/model.h", "src/forward.h"],
            cxx_std=17,
            extra_compile_args=[*FLAGS, "-ffp-contract=fast"],
        ),
        Pybind11Extension(
            "trident_index_kernels",
            sorted(str(path) for path in INDEX.glob("*.cpp")),
            depends=sorted(str(path) for path in INDEX.glob("*.h")),
            cxx_std=17,
            # A product is rounded before it is added: a graph has the same bytes, a cosine the same bits, everywhere.
            extra_compile_args=[*FLAGS, "-ffp-contract=off", "-pthread"],
            extra_link_args=["-pthread"],
        ),
    ]
)
