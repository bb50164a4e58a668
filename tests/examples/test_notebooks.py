"""The notebooks are the scripts, cell by cell, and run."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDER = EXAMPLES / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICK = ("own_data",)
RUN = """
import json, sys
for path in sys.argv[1:]:
    cells = json.load(open(path, encoding="utf-8"))["cells"]
    names = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path, "exec"), names)
"""
SCRIPT = '''"""Title: python examples/a.py

More.
"""

import os

import sys

# Said
# of b.
b = 1

if __name__ == "__main__":
    print(b)  # kept

    print(os, sys)
'''


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write", FOLDER / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def body(script):
    """The statements of a script as a notebook has them: those under its last line without that line."""
    statements = ast.parse(script.read_text(encoding="utf-8")).body[1:]
    if isinstance(statements[-1], ast.If):
        statements[-1:] = statements[-1].body
    text = "\n".join(map(ast.unparse, statements))
    return re.sub(r"Path\(__file__\)\.with_name\('(.+?)'\)", r"Path('../\1')", text)


def test_there_is_one_for_each_script(writer):
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in writer.sources()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_up_to_date(path, writer):
    wanted = writer.notebook(EXAMPLES / f"{path.stem}.py")
    assert path.read_text(encoding="utf-8") == wanted, "run: python examples/notebooks/write.py"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_cells_are_the_script_and_nothing_else(path):
    cells = [ast.parse(cell) for cell in code(path)]
    assert all(cell.body for cell in cells)
    assert "\n".join(ast.unparse(node) for cell in cells for node in cell.body) == body(EXAMPLES / f"{path.stem}.py")


def test_how_a_script_is_cut(writer):
    assert writer.cells(SCRIPT, "a.py") == [
        ("markdown", "# Title\n\nMore.\n\nThe same as a script: `examples/a.py`."),
        ("code", "import os\n\nimport sys"),
        ("markdown", "Said of b."),
        ("code", "b = 1"),
        ("code", "print(b)  # kept"),
        ("code", "print(os, sys)"),
    ]


def copies(folder):
    """The quick notebooks and their data, laid out as in the repository."""
    (folder / "notebooks").mkdir()
    (folder / "iris.csv").write_bytes((EXAMPLES / "iris.csv").read_bytes())
    for name in QUICK:
        (folder / "notebooks" / f"{name}.ipynb").write_bytes((FOLDER / f"{name}.ipynb").read_bytes())
    return folder / "notebooks"


def test_the_quick_ones_run(tmp_path):
    folder = copies(tmp_path)
    command = [sys.executable, "-c", RUN, *(f"{name}.ipynb" for name in QUICK)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"report: .*own_data\.html\n$", done.stdout), done.stdout


def test_one_runs_in_jupyter(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    folder = copies(tmp_path)
    page = nbformat.read(folder / "own_data.ipynb", as_version=4)
    nbformat.validate(page)
    nbclient.NotebookClient(page, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    said = "".join(output["text"] for output in page.cells[-1].outputs if output.get("name") == "stdout")
    assert "report: own_data.html" in said
