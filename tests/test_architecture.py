"""The house rules that a machine can check: one-way imports, speed of import, names of files, sizes."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "nonlin"

# A folder imports only from folders in rows above its own, and from itself.
LAYERS = (
    {"errors"},
    {"expr"},
    {"native"},
    {"zoo"},
    {"entropy", "nn", "strategies", "exporters"},
    {"tasks"},
    {"train"},
    {"report"},
    {"diagnosis"},
    {"run"},
    {"experiments"},
    {"integrations"},
    {"testing"},
    {"benchmarks"},
    {"cli"},
    {"__main__"},
)
ALLOWED = {
    folder: set().union(*LAYERS[:row]) | {folder} for row, layer in enumerate(LAYERS) for folder in layer
}  # fmt: skip


def imports(path: Path):
    """(line, module) for every import of a file, also inside functions; not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in (node for node in ast.walk(tree) if node not in for_types):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, "relative"
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def violations(path: Path, folder: str):
    for line, module in imports(path):
        parts = module.split(".")
        if module == "relative":
            yield f"{path}:{line}: relative import"
        elif parts[0] == "nonlin" and len(parts) > 1 and parts[1] not in ALLOWED[folder]:
            yield f"{path}:{line}: {folder} must not import {module}"


def folder_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def test_every_folder_has_a_layer():
    assert {folder_of(path) for path in FILES} <= set(ALLOWED)


def test_imports_go_one_way():
    found = [problem for path in FILES for problem in violations(path, folder_of(path))]
    assert not found, "\n".join(found)


def test_the_check_can_fail(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from nonlin.run import Study\n")
    assert list(violations(bad, "expr"))


def test_no_file_has_an_empty_name():
    vague = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
    assert not [path for path in FILES if path.stem in vague]


def test_files_stay_small():
    long = {path.name: lines for path in FILES if (lines := len(path.read_text().splitlines())) > 410}
    assert not long


def run(*command: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=60)
    return time.perf_counter() - begin


def test_import_loads_nothing_heavy():
    code = "import sys, nonlin; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'sympy', 'matplotlib')))"
    run("-c", code)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['nonlin', '--help']\n"
        "from nonlin.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'sympy', 'matplotlib', 'sklearn')))"
    )
    run("-c", code)


@pytest.mark.parametrize("name", ["activation", "search", "gain", "Task", "Data", "Budget", "Study", "register"])
def test_public_names(name):
    import nonlin as nl

    assert callable(getattr(nl, name))
    assert name in dir(nl)


def test_unknown_public_name():
    import nonlin as nl

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = nl.nothing
