"""The core's C++ under the address and undefined-behaviour sanitizers, over random programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import nonlin.native

CORE = Path(nonlin.native.__file__).parent / "core"
HERE = Path(__file__).parent
FLAGS = [
    "-std=gnu++17", "-O1", "-g1", "-fno-omit-frame-pointer", "-fno-math-errno", "-fno-trapping-math",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread",
]  # fmt: skip


def _compiler() -> str | None:
    """A compiler that can build and start a sanitized program, or None."""
    return next((name for name in (os.environ.get("CXX", ""), "g++", "clang++") if name and shutil.which(name)), None)


def _compile(compiler: str, source: Path, target: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [compiler, *FLAGS, *flags, "-c", str(source), "-o", str(target)], capture_output=True, text=True, timeout=300
    )


def test_sanitizers(tmp_path):
    compiler = _compiler()
    if compiler is None:
        pytest.skip("no C++ compiler here")
    probe = tmp_path / "probe.cpp"
    probe.write_text("int main() {}\n")
    program = tmp_path / "probe"
    built = subprocess.run([compiler, *FLAGS, str(probe), "-o", str(program)], capture_output=True, timeout=120)
    if built.returncode or subprocess.run([program], capture_output=True, timeout=60).returncode:
        pytest.skip(f"{compiler} has no working sanitizers")
    objects = []
    # One instruction set is enough: the others are the same source with longer vectors.
    for source in (
        *(CORE / f"{n}.cpp" for n in ("isa_base", "dispatch", "memory", "parallel")),
        HERE / "sanitized.cpp",
    ):
        objects.append(tmp_path / f"{source.stem}.o")
        done = _compile(compiler, source, objects[-1], "-DNONLIN_BASE_ONLY", f"-I{CORE}")
        assert done.returncode == 0, done.stderr[-4000:]
    fuzz = tmp_path / "fuzz"
    link = subprocess.run([compiler, *FLAGS, *map(str, objects), "-o", str(fuzz)], capture_output=True, timeout=120)
    assert link.returncode == 0, link.stderr[-4000:]
    done = subprocess.run([fuzz], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    assert done.stdout.strip() == "done"
