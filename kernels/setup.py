"""Builds the module; instruction sets are chosen where it runs, not where it is built."""

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

# Sums stay in the order in which they are written: an embedding must not depend on how a loop was unrolled.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]

setup(
    ext_modules=[
        Pybind11Extension(
            "trident_kernels",
            ["src/module.cpp", "src/avx512.cpp", "src/avx2.cpp", "src/vnni.cpp"],
            depends=["src/model.h", "src/forward.h"],
            cxx_std=17,
            extra_compile_args=FLAGS,
        )
    ]
)
