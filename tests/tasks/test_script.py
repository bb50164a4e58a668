"""A task from the user's own script."""

import pickle

import pytest
import torch

import nonlin as nl
from nonlin.errors import TaskError
from nonlin.tasks import Factory, script_task, task

GOOD = """
import sys
import numpy as np
from torch import nn
import nonlin as nl
import beside

budget = nl.Budget(epochs=2, learning_rate=0.02)

def build(activation):
    return nn.Sequential(nn.Linear(2, beside.WIDTH), activation(beside.WIDTH), nn.Linear(beside.WIDTH, 2))

def data():
    x = np.random.default_rng(0).normal(size=(120, 2))
    return nl.Data.from_arrays(x, (x[:, 0] * x[:, 1] > 0).astype(int))

if __name__ == "__main__":
    raise SystemExit("run as a script")
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "beside.py").write_text("WIDTH = 7\n")
    path = tmp_path / "train.py"
    path.write_text(GOOD)
    return path


def test_build_and_data(script):
    found = task("train.py")
    assert found.name == "train.py"
    assert found.budget.epochs == 2
    model = found.model(Factory(nl.activation("swish")))
    assert model[0].out_features == 7
    assert len(found.load().train[0]) == 72


def test_the_name_is_the_path_from_here_or_the_whole_path(script, tmp_path, monkeypatch):
    assert task(script).name == "train.py"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert task(script).name == script.resolve().as_posix()


def test_a_worker_reads_the_script_itself(script):
    again = pickle.loads(pickle.dumps(task("train.py").build))
    assert isinstance(again(Factory(nl.activation("relu"))), torch.nn.Sequential)


def test_a_script_may_hold_a_task(script):
    script.write_text(GOOD + "\ntask = nl.Task('mine', build, data, nl.Budget(epochs=5))\n")
    assert script_task("train.py").budget.epochs == 5
    assert script_task("train.py").name == "train.py"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no build and no data"),
        ("def build(act): ...", "defines no data"),
        ("build = 3\ndata = 4", "build must be a function, not int"),
        ("def build(act): ...\ndata = 4", "data must be a nonlin.Data"),
        ("x = 1\ny = x +\n", "line 2: cannot be read: SyntaxError"),
        ("import no_such_module_at_all", "line 1: cannot be read: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)", "exit code 3). Keep what the script runs"),
    ],
    ids=["empty", "no-data", "no-function", "no-data-set", "syntax", "import", "exits"],
)
def test_a_script_that_cannot_be_used(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(TaskError, match=r"bad\.py") as caught:
        task("bad.py")
    assert message in str(caught.value)


def test_a_missing_script():
    with pytest.raises(TaskError, match=r"there is no script no_such\.py"):
        task("no_such.py")


def test_faults_in_its_functions_have_a_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faulty.py").write_text("def build(act):\n    return 1 / 0\n\ndef data():\n    return {}['rows']\n")
    found = task("faulty.py")
    with pytest.raises(TaskError, match=r"faulty\.py, line 2: build failed: ZeroDivisionError"):
        found.model(Factory(nl.activation("relu")))
    with pytest.raises(TaskError, match=r"faulty\.py, line 5: data\(\) failed: KeyError"):
        found.load()


TABLE = "a,b,kind\n" + "".join(f"{row}.5,{row % 7},{'xy'[row % 2]}\n" for row in range(60))
READS = "import nonlin as nl\ndef build(act): ...\ndef data():\n    return nl.Data.from_csv('table.csv', 'kind')\n"


def test_a_table_is_found_beside_the_script_and_here_first(tmp_path, monkeypatch):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "mine.py").write_text(READS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=r"table\.csv: .*the current folder .* nor beside mine\.py in .*far") as caught:
        script_task("far/mine.py").load()
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "far" / "table.csv").write_text(TABLE)
    assert len(script_task("far/mine.py").load().train[0]) == 36
    (tmp_path / "table.csv").write_text("a,b,kind\n" + TABLE.split("\n", 1)[1] * 2)
    (tmp_path / "far" / "mine.py").write_text(READS + "# edited\n")
    assert len(script_task("far/mine.py").load().train[0]) == 72


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nl.Data.from_arrays(np.zeros((100, 2)), np.arange(90) % 2)", "line 8: x has 100 rows and y has 90"),
        ("nl.Data.from_arrays(np.full((90, 2), np.nan), np.arange(90) % 2)", "line 8: the train inputs hold NaN"),
    ],
    ids=["rows", "nan"],
)
def test_faulty_data_name_the_script(tmp_path, monkeypatch, data, message):
    monkeypatch.chdir(tmp_path)
    text = (
        "import nonlin as nl\nimport numpy as np\n\ndef build(act):\n    ...\n\ndef data():\n    return " + data + "\n"
    )
    (tmp_path / "faulty_data.py").write_text(text)
    with pytest.raises(TaskError, match=rf"^faulty_data\.py, {message}"):
        script_task("faulty_data.py").load()


def test_the_factory_itself_is_no_module(tmp_path, monkeypatch):
    def build(act):
        return torch.nn.Sequential(torch.nn.Linear(2, 2), act)

    with pytest.raises(TaskError, match=r"task mine: build failed: .* call it wherever .* activation\(16\)"):
        nl.Task("mine", build, lambda: None).model(Factory(nl.activation("relu")))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uncalled.py").write_text(
        "from torch import nn\ndef build(act):\n    return nn.Sequential(nn.Linear(2, 2), act)\ndef data(): ...\n"
    )
    with pytest.raises(TaskError, match=r"uncalled\.py, line 3: build failed: what build receives is not a module"):
        script_task("uncalled.py").model(Factory(nl.activation("relu")))


def test_a_syntax_error_names_its_line_once(tmp_path):
    path = tmp_path / "syntax.py"
    path.write_text("x = 1\ndef f()\n")
    with pytest.raises(TaskError) as caught:
        script_task(path)
    assert str(caught.value).count("line 2") == 1
