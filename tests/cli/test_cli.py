"""The command line: every verb, its JSON, and one clear message for bad input."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nonlin.cli.app import VERBS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small finished search, made by the command itself."""
    path = tmp_path_factory.mktemp("search") / "a.db"
    command = [sys.executable, "-m", "nonlin", "search", "--budget", "6", "--store", path, "--workers", "1", "-n", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "6,250 expressions, 4,0" in done.stdout
    assert re.search(r"18 children: \d+ trained to the end", done.stdout)
    assert "the 360 test rows were not touched" in done.stdout.replace("\n", " ")
    for name in ("relu", "gelu", "swish", "linear", "constant"):
        assert name in done.stdout
    return path


def test_help_of_every_verb(run):
    code, out, _ = run("--help")
    assert code == 0
    for verb in VERBS:
        assert verb in out
        code, text, _ = run(verb, "--help")
        assert code == 0
        assert "Example" in text or verb in ("tasks",)


def test_version(run):
    assert run("--version")[1].startswith("nonlin 0.")


def test_list(run):
    code, out, _ = run("list")
    assert code == 0
    assert "swish" in out
    assert re.search(r"\d{2,3} activations", out)
    rows = json.loads(run("list", "tanh", "--json")[1])["activations"]
    assert {"mish", "tanh"} <= {row["name"] for row in rows}
    assert len(rows) < 60
    code, _, err = run("list", "nonexistent")
    assert code == 2
    assert "nonexistent" in err


@pytest.mark.parametrize("name", ["crrelu", "gelu", "x*sigmoid(beta*x)", "leaky_relu", "sqrt(x)"])
def test_show(run, name):
    code, out, err = run("show", name)
    assert (code, err) == (0, "")
    assert "derivative" in out
    found = json.loads(run("show", name, "--json")[1])
    assert found["formula"]
    assert len(found["values"]) == 9


def test_show_names_a_rediscovery(run):
    out = run("show", "x/(1 + exp(-x))")[1]
    assert "silu" in out
    assert "swish with beta=1" in out


def test_show_keeps_square_brackets(run):
    assert "1/√E[f²]" in run("show", "relu")[1]


@pytest.mark.parametrize(
    ("formula", "note"),
    [("1/0", "no finite value at any"), ("sqrt(x)", "no finite value at 4 "), ("3", "constant"), ("relu", "")],
)
def test_show_warns_of_what_cannot_train(run, formula, note):
    out = run("show", formula)[1]
    assert note in out
    assert ("note" in out) == bool(note)


def test_bad_formula(run):
    code, out, err = run("show", "x*foo(x)")
    assert (code, out) == (2, "")
    assert err.startswith("error: cannot read this formula:\n    x*foo(x)\n      ^^^\n")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot(run, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    code, out, _ = run("plot", "swish", "gelu", "x*sin(x)", "-o", path)
    assert code == 0
    assert out.strip() == str(path)
    head = path.read_bytes()[:400]
    assert {"png": b"PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix] in head


def test_plot_default_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("plot", "swish", "x*tanh(x)", "--no-derivative")[1].strip() == "swish-xtanhx.png"
    assert (tmp_path / "swish-xtanhx.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plot", "relu", "-o", "a.gif"), ".png"),
        (("plot", "relu", "-o", "no/such/folder/a.png"), "cannot write"),
        (("plot", "relu", "--low", "1", "--high", "0"), "below"),
        (("plot", "nothing_like_it"), "unknown activation"),
        (("top", "none.db"), "there is no store"),
        (("report", "none.db"), "there is no store"),
        (("resume", "none.db"), "there is no store"),
        (("search", "--task", "imagenet"), "unknown task"),
        (("search", "--space", "kore-7"), "unknown space"),
        (("search", "--strategy", "grid"), "unknown strategy"),
        (("search", "--budget", "0"), "budget"),
        (("search", "--workers", "-3"), "workers"),
        (("search", "--per", "layer"), "'layer'"),
        (("search", "--store", "no/such/a.db"), "does not exist"),
        (("search", "--report", "no/such/a.html"), "does not exist"),
        (("search", "--report", "a.db"), "must end with .html"),
        (("search", "--seed", "99999999999999999999"), "seed"),
        (("search", "--engine", "gpu"), "'gpu'"),
        (("search", "--also", "foo(x)"), "Unknown function 'foo'"),
        (("list", "--activations", "none.toml"), "cannot read the activation file"),
        (("list", "--activations"), "needs a file"),
    ],
)
def test_bad_input_is_one_message(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("serach",), ("top",), ("search", "--budget", "many"), ("show",)])
def test_usage_errors(run, arguments):
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" not in err


def test_a_bad_number_is_shown(run):
    assert "'many' is not a valid integer." in run("bench", "children", "--rounds", "many")[2]


def test_top(run, store):
    code, out, _ = run("top", store, "-n", "5")
    assert code == 0
    assert "Tied with it" in out
    found = json.loads(run("top", store, "--json", "-n", "4")[1])
    assert len(found["trials"]) == 4
    assert {"formula", "name", "score", "status", "seed", "seconds"} <= set(found["trials"][0])
    assert found["config"]["rows"]["test"] == 360
    everything = json.loads(run("top", store, "--json", "-n", "100")[1])["trials"]
    assert len(everything) == 18
    assert run("top", store, "-n", "0")[0] == 2
    assert run("top", store, "--study", "9")[0] == 2


def test_resume_of_a_finished_search(run, store):
    code, out, _ = run("resume", store, "-n", "2")
    assert code == 0
    assert "18 children" in out


def test_search_json(run, store):
    code, out, err = run("search", "--budget", "6", "--store", store, "--workers", "0", "--json", "-n", "2")
    assert (code, err) == (0, "")
    assert len(json.loads(out)["trials"]) == 2


def test_report(run, store, tmp_path):
    code, out, _ = run("report", store, "-o", tmp_path / "r.html")
    assert code == 0
    assert out.strip() == str(tmp_path / "r.html")
    code, out, err = run("report", store, "-o", tmp_path / "no" / "r.html")
    assert code == 2
    assert "cannot write the report" in err
    before = store.read_bytes()
    assert run("report", store, "-o", store)[0] == 2
    assert store.read_bytes() == before


def test_tasks_and_spaces(run):
    assert "digits-mlp" in run("tasks")[1]
    assert json.loads(run("tasks", "--json")[1])["tasks"][0]["budget"]["epochs"] == 20
    out = run("spaces", "--count")[1]
    assert "6,250" in out
    assert "worth training" in out
    assert json.loads(run("spaces", "--json")[1])["strategies"][:2] == ["exhaustive", "random"]


def test_own_activations(run, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[activation]]\nname = "homegrown"\nformula = "x*cos(x)**3"\nremark = "mine"\n')
    for place in (("--activations", path, "show", "homegrown"), ("show", "homegrown", f"--activations={path}")):
        code, out, _ = run(*place)
        assert code == 0
        assert "x*cos(x)**3" in out


def test_a_closed_pipe_is_quiet():
    command = f"{sys.executable} -m nonlin list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_the_readme_names_every_verb():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"nonlin {verb}" in readme for verb in VERBS)


@pytest.mark.parametrize(
    ("arguments", "entry", "said"),
    [
        (["search", "--store", "a.db", "--workers", "0"], "nonlin.run.search", "Continue with: nonlin resume a.db"),
        (["compare", "relu", "--store", "a.db", "--workers", "0"], "nonlin.run.compare", "with: nonlin resume a.db"),
        (["pipeline", "--task", "digits-mlp", "--workers", "0"], "nonlin.run.pipeline", "The same command continues"),
        (["train", "relu", "--task", "digits-mlp"], "nonlin.train.fit", "--checkpoint DIR keeps it"),
        (["reproduce", "crrelu-vit", "--smoke"], "nonlin.experiments.reproduce", "nothing was kept"),
    ],
    ids=["search", "compare", "pipeline", "train", "reproduce"],
)  # fmt: skip
def test_ctrl_c_ends_with_130_and_says_what_is_kept(run, tmp_path, monkeypatch, arguments, entry, said):
    monkeypatch.chdir(tmp_path)

    def interrupted(*_, **__):
        (tmp_path / "a.db").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, interrupted)
    code, _, err = run(*arguments)
    assert code == 130
    assert "interrupted" in err
    assert said in err


@pytest.mark.parametrize("verb", [["search"], ["compare", "relu"]], ids=["search", "compare"])
def test_ctrl_c_before_there_is_a_store_promises_none(run, tmp_path, monkeypatch, verb):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"nonlin.run.{verb[0]}", interrupted)
    code, _, err = run(*verb, "--store", tmp_path / "a.db", "--workers", "0")
    assert code == 130
    assert "nothing had been trained yet" in err
    assert "resume" not in err


def test_a_search_with_a_bad_task_leaves_no_store(run, tmp_path):
    code, _, err = run("search", "--task", "no-such-task", "--store", tmp_path / "a.db", "--workers", "0")
    assert code == 2
    assert "no-such-task" in err
    assert not list(tmp_path.iterdir())


def test_a_search_says_why_it_trains_one_by_one(capsys):
    from nonlin.cli.progress import Progress

    Progress().explained("one by one in torch: [reason]")
    assert capsys.readouterr().out == "children are trained one by one in torch: [reason]\n"
