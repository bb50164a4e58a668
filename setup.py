"""Builds the optional compiled core (src/nonlin/native/core); everything else is in pyproject.toml.

Without a C++ compiler the installation succeeds all the same and says once that the core is missing;
nonlin then does the same work with torch. ``NONLIN_NO_NATIVE=1`` leaves the core out.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = Path("src/nonlin/native/core")
FLAGS = [
    "-std=gnu++17",
    "-O3",
    "-fno-math-errno",  # lets sqrt and floor vectorise; no effect on values
    "-fno-trapping-math",
    "-fno-thread-jumps",  # or GCC runs loops with two clamps in four versions at once
    "-ffp-contract=fast",  # fused multiply-add inside the kernels
    "-fvisibility=hidden",
]


class OptionalBuild(build_ext):
    """Building the core may fail; that is a message, not an error."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:  # any compiler, any failure
            print(
                f"nonlin: the compiled core was not built ({error}). Training and activations will run on torch "
                "alone, more slowly. To have the core, install g++ or clang++ and reinstall.",
                file=sys.stderr,
            )

    def get_export_symbols(self, ext):
        return []  # a plain shared library, loaded with ctypes: there is no PyInit function


core = Extension(
    "nonlin.native._core",
    sources=sorted(path.as_posix() for path in CORE.glob("*.cpp")),
    depends=sorted(path.as_posix() for pattern in ("*.h", "*.def") for path in CORE.glob(pattern)),
    include_dirs=[CORE.as_posix()],
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
    language="c++",
    optional=True,
)

setup(
    ext_modules=[] if os.environ.get("NONLIN_NO_NATIVE") else [core],
    cmdclass={"build_ext": OptionalBuild},
)
