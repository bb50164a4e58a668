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
