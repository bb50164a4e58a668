"""What is released is complete: a source distribution, the wheel built from it without a compiler, and that at work."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "nonlin"
TOP = "pyproject.toml setup.py MANIFEST.in README.md LICENSE CHANGELOG.md CONTRIBUTING.md SECURITY.md Makefile".split()
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info", "*.pyc", "build", "generated")


def sources(*endings: str) -> set[str]:
    """Files of the package with these endings, as paths below src/."""
    found = (path for path in PACKAGE.rglob("*") if path.name.endswith(endings) and "__pycache__" not in path.parts)
    return {path.relative_to(PACKAGE.parent).as_posix() for path in found}


def build(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder where no C or C++ compiler can be found."""
    environment = {**os.environ, "CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The unpacked source distribution."""
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("packaging")
    tree = folder / "tree"
    tree.mkdir()
    for name in TOP:
        shutil.copy(ROOT / name, tree)
    for name in ("src", "tests", "examples"):
        shutil.copytree(ROOT / name, tree / name, ignore=LEFT_OUT)
    build(tree, "setup.py", "-q", "sdist", "-d", str(folder))
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    return next((folder / "unpacked").iterdir())


@pytest.fixture(scope="module")
def wheel(source):
    """The wheel built from the source distribution, and what was said meanwhile."""
    done = build(source, "setup.py", "-q", "bdist_wheel", "-d", "dist")
    return next((source / "dist").glob("*.whl")), done.stderr


def test_the_source_has_everything_the_core_is_built_from(source):
    names = {path.relative_to(source / "src").as_posix() for path in (source / "src").rglob("*")}
    wanted = sources(".py", ".h", ".cpp", ".def", ".toml", ".html", ".css", ".js", ".csv.gz", "py.typed")
    assert wanted - names == set()
    assert {"tests/test_packaging.py", "tests/expr/test_operators.py"} <= {
        path.relative_to(source).as_posix() for path in (source / "tests").rglob("*.py")
    }


def test_the_wheel_has_every_module_and_data_file(wheel):
    with zipfile.ZipFile(wheel[0]) as archive:
        names = set(archive.namelist())
    data = sources(".py", ".toml", ".html", ".css", ".js", ".csv.gz", "py.typed")
    assert data - names == set(), "see [tool.setuptools.package-data] in pyproject.toml"
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"nonlin"}


def test_without_a_compiler_it_says_so_and_works(wheel, tmp_path):
    path, said = wheel
    assert "the compiled core was not built" in said
    with zipfile.ZipFile(path) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".pyd", ".dylib"))]
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import nonlin as nl, torch\n"
        f"assert nl.__file__.startswith({str(tmp_path)!r}), nl.__file__\n"
        "from nonlin.native import library\n"
        "assert library.load() is None\n"
        "x = torch.linspace(-3, 3, 50, requires_grad=True)\n"
        "nl.activation('swish').module()(x).sum().backward()\n"
        "s = torch.sigmoid(x.detach())\n"
        "torch.testing.assert_close(x.grad, s + x.detach() * s * (1 - s))\n"
    )
    build(tmp_path, "-c", code)
