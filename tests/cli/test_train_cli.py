"""`nonlin train`: one function on one task, continued from its checkpoint, and one message for what cannot be."""

import json

import pytest

from nonlin.tasks import task
from nonlin.train import fit


def test_it_is_fit(run):
    code, out, _ = run("train", "swish", "--task", "tabular-cancer", "--epochs", "2", "--seed", "3", "--json")
    assert code == 0
    found = json.loads(out)
    import dataclasses

    chosen = task("tabular-cancer")
    expected = fit(
        dataclasses.replace(chosen, budget=dataclasses.replace(chosen.budget, epochs=2)), "swish", 3, final=True
    )
    for name in ("status", "loss", "score", "test_loss", "test_score", "epochs", "curves", "parameters"):
        assert found[name] == getattr(expected, name), name
    assert (found["task"], found["activation"], found["seed"]) == ("tabular-cancer", "swish", 3)


def test_words_and_progress(run):
    code, out, _ = run("train", "prelu", "--task", "tabular-cancer", "--steps", "22")
    assert code == 0
    assert "step 22/22, epoch 2/2" in out
    assert "rows/s" in out
    assert "prelu on tabular-cancer, seed 0: ok" in out
    assert "test        accuracy" in out
    assert "parameters" in out


def test_it_continues(run, tmp_path):
    command = ("train", "relu", "--task", "tabular-cancer", "--epochs", "2", "--checkpoint", tmp_path)
    first = run(*command, "--json")
    assert first[0] == 0
    code, out, _ = run(*command)
    assert code == 0
    assert "continuing after step 22 of 22" in out
    path = next(tmp_path.glob("tabular-cancer-*.checkpoint"))
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = run(*command)
    assert code == 2
    assert err.startswith(f"error: the checkpoint {path} is damaged")
    assert "Traceback" not in err


def test_interrupted(run, tmp_path, monkeypatch):
    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("nonlin.train.fit", interrupt)
    code, _, err = run("train", "relu", "--checkpoint", tmp_path)
    assert code == 130
    assert "the same command continues from it" in err
    assert "--checkpoint DIR keeps it" in run("train", "relu")[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "cuda:9"), "device='cuda:9' is not there"),
        (("--device", "tpu"), "device='tpu' is no"),
        (("--precision", "half"), "precision='half' is not one of"),
        (("--per", "layer"), "--per must be 'channel' or 'tensor'; got 'layer'"),
        (("--task", "nosuch"), "unknown task 'nosuch'"),
        (("--rate", "0"), "learning_rate must be above 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_one_message(run, options, message):
    code, _, err = run("train", "relu", *options)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_a_formula_that_cannot_be_read(run):
    code, _, err = run("train", "x +")
    assert code == 2
    assert "cannot read this formula" in err


def test_a_failure_is_said_and_is_no_success(run, monkeypatch):
    from nonlin.train import Outcome

    monkeypatch.setattr("nonlin.train.fit", lambda *a, **k: Outcome("failed", error="too little memory on cuda"))
    code, _, err = run("train", "relu")
    assert code == 1
    assert "error: too little memory on cuda" in err


def test_divergence_is_a_result(run):
    code, out, _ = run("train", "log(x)", "--task", "tabular-cancer", "--epochs", "1")
    assert code == 0
    assert "no longer finite in epoch 1" in out
