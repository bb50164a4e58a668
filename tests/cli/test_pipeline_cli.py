"""`nonlin pipeline`, on a script and by name, and the same steps one after another."""

import json

import pytest

SCRIPT = """
import numpy as np
from torch import nn
import nonlin as nl

budget = nl.Budget(epochs=3, learning_rate=0.02)

def build(activation):
    return nn.Sequential(nn.Linear(2, 8), activation(8), nn.Linear(8, 2))

def data():
    x = np.random.default_rng(0).normal(size=(150, 2))
    return nl.Data.from_arrays(x, (x[:, 0] * x[:, 1] > 0).astype(int))
"""
SPACE = """
unary = ["a", "tanh(a)", "sigmoid(a)", "a**2", "sin(a)", "abs(a)"]
binary = ["a*b", "a + b"]
"""
SMALL = ("--space", "tiny.toml", "--budget", "2", "--top", "1", "--seeds", "2", "--rates", "1", "--baseline", "relu")


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "tiny.toml").write_text(SPACE)  # counted in no time
    return "train.py"


def test_a_script_and_again(script, tmp_path, run):
    command = ("pipeline", script, *SMALL, "--workers", "0", "--to", "latex")
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    for text in ("1. search", "2. confirm", "3. export and report", "Found on train.py", "Verdict:", "Next:"):
        assert text in out
    assert (tmp_path / "pipeline-train" / "activation.tex").exists()
    code, again, err = run(*command, "--json")
    assert (code, err) == (0, "")
    found = json.loads(again)
    assert found["outcome"] in ("better", "tied", "worse")
    assert found["found"]["formula"] in out


def test_the_steps_one_after_another(script, tmp_path, run):
    """The search in a worker process, which reads the script itself."""
    for command in (
        ("search", "--task", script, "--space", "tiny.toml", "--budget", "2", "--store", "a.db", "--workers", "1"),
        ("confirm", "a.db", "--top", "1", "--seeds", "2", "--rates", "1", "--workers", "0", "--report", "c.html"),
        ("transfer", "a.db", "--task", "tabular-cancer", "--top", "1", "--seeds", "1", "--workers", "0"),
        ("report", "a.db", "--study", "1", "-o", "a.html"),
    ):
        code, _, err = run(*command)
        assert (code, err) == (0, ""), command
    formula = json.loads(run("top", "a.db", "--study", "1", "--json", "-n", "1")[1])["trials"][0]["formula"]
    assert json.loads(run("top", "a.db", "--json", "-n", "1")[1])["trials"][0]["formula"] == formula
    assert "nonlin top a.db --study 1" in run("top", "a.db")[1]
    code, _, err = run("top", "a.db", "--comparison", "1", "-n", "2")
    assert (code, "Leave it out" in err) == (2, True)
    assert run("export", formula, "--to", "torch", "-o", "found.py")[0] == 0
    assert (tmp_path / "found.py").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name what to train"),
        (("train.py", "--task", "digits-mlp"), "two things to train"),
        (("digits-mlp",), "nonlin pipeline --task digits-mlp"),
        (("none.py",), "there is no script none.py"),
        (("--task", "digits-mpl"), "Did you mean 'digits-mlp'"),
        (("train.py",), "defines no build and no data"),
        (("--task", "digits-mlp", "--top", "0"), "top must be"),
        (("--task", "digits-mlp", "--rates", "1,x"), "1,x"),
        (("--task", "digits-mlp", "--to", "fortran"), "'fortran' is not known"),
        (("--task", "digits-mlp", "--transfer", "digits-mlp"), "named twice"),
        (("--task", "digits-mlp", "--baseline", "foo(x)"), "Unknown function 'foo'"),
        (("--task", "digits-mlp", "-o", "train.py"), "cannot be the folder"),
        (("--task", "digits-mlp", "--workers", "-1"), "workers"),
        (("--task", "digits-mlp", "--space", "kore-1"), "unknown space"),
    ],
)
def test_bad_input_is_one_message(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("x = 1\n")
    code, _, err = run("pipeline", *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "wrong",
    [("--budget", "0"), ("--space", "foo"), ("--workers", "-2"), ("--strategy", "no-such"), ()],
    ids=["budget", "space", "workers", "strategy", "width"],
)
def test_nothing_is_begun_with_what_cannot_be_used(script, tmp_path, run, wrong):
    if not wrong:
        (tmp_path / script).write_text(SCRIPT.replace("activation(8)", "activation(9)"))
    code, out, err = run("pipeline", script, *wrong)
    assert (code, out) == (2, "")
    assert wrong or "build calls activation(9) where 8 features arrive" in err
    assert not (tmp_path / "pipeline-train").exists()


def test_reports_are_written_again_only_for_other_results(script, tmp_path, run, monkeypatch):
    command = ("pipeline", script, *SMALL, "--workers", "0")
    assert "search.html ..." in run(*command)[1]
    page = tmp_path / "pipeline-train" / "search.html"
    first = page.stat().st_mtime_ns
    assert "search.html is there already" in run(*command)[1]
    assert page.stat().st_mtime_ns == first
    (tmp_path / script).write_text(SCRIPT.replace("8", "12"))
    out = run(*command)[1]
    assert "confirm.html ..." in out
    assert "search.html ..." in out
    assert page.stat().st_mtime_ns != first
