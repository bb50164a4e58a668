"""The package loads without torch and scipy, and imports only what lies below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nonlin.entropy

FOLDER = Path(nonlin.entropy.__file__).parent


def test_importing_loads_neither_torch_nor_scipy():
    code = "import sys, nonlin.entropy; print(sorted({'torch', 'scipy', 'sympy'} & set(sys.modules)))"
    path = str(FOLDER.parent.parent)
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": path, "PATH": ""},
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["derive", "relu"], ["worst"], ["derive", "gelu", "--density", "logistic"]])
def test_the_commands_load_neither_torch_nor_scipy(arguments):
    """They would take longer to load than the answer takes."""
    code = (
        "import sys\nfrom nonlin.cli.app import app\n"
        f"app(args={arguments!r}, standalone_mode=False)\n"
        "print(sorted({'torch', 'scipy', 'sympy', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(result.stdout.splitlines()) > 2
    assert result.stdout.splitlines()[-1] == "[]"


def test_it_imports_only_folders_above():
    allowed = {"errors", "expr", "zoo", "entropy"}
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module.startswith("nonlin."):
                    assert module.split(".")[1] in allowed, (file.name, module)


def test_public_names_are_functions_not_modules():
    for name in nonlin.entropy.__all__:
        assert callable(getattr(nonlin.entropy, name)), name
