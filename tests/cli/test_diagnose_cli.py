"""`nonlin diagnose`."""

import json

import pytest


def test_before_and_after_training(run, tmp_path):
    code, out, err = run("diagnose", "swish", "--task", "tabular-cancer", "--plot", tmp_path / "d.svg")
    assert (code, err) == (0, "")
    for text in ("before training", "after training (trained for 30 epochs", "during training", "beta", "|update|"):
        assert text in out
    assert (tmp_path / "d.svg").read_text().count('<g id="axes_') == 9


def test_json_of_the_fresh_network(run):
    code, out, _ = run("diagnose", "relu", "--initial", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["trained"] is None
    assert len(found["initial"]["layers"]) == 2
    assert {"dead", "saturated", "H", "J", "pre_activations"} <= set(found["initial"]["layers"][0])


def test_one_quantity(run, tmp_path):
    assert run("diagnose", "gelu", "--initial", "--plot", tmp_path / "a.svg", "--quantity", "gradient")[0] == 0
    assert (tmp_path / "a.svg").read_text().count('<g id="axes_') == 1


def test_lesson(run, tmp_path, monkeypatch):
    monkeypatch.setattr("nonlin.diagnosis.lesson_exploding.EPOCHS", 2)
    code, out, _ = run("diagnose", "--lesson", "exploding", "--repeats", "1", "--plot", tmp_path / "l.svg")
    assert code == 0
    assert out.count("shown: ") == 6
    assert "Pascanu" in out
    assert (tmp_path / "l.svg").exists()


def test_lesson_as_json(run, monkeypatch):
    from nonlin.diagnosis import LESSONS, Finding, Lesson
    from nonlin.diagnosis.tables import Table

    made = Lesson("x", "X", "Why?", "here", (Table("t", ("a",), ((1.5,),)),), (Finding("so", False),), (), ("book",))
    monkeypatch.setitem(LESSONS, "x", lambda seed, repeats: made)
    found = json.loads(run("diagnose", "--lesson", "x", "--json", "--seed", "4")[1])
    assert (found["seed"], found["tables"][0]["rows"], found["findings"][0]["holds"]) == (4, [[1.5]], False)
    assert "NOT shown: so" in run("diagnose", "--lesson", "x")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("diagnose",), "name an activation or a lesson"),
        (("diagnose", "relu", "--lesson", "dead"), "leave out 'relu'"),
        (("diagnose", "rleu"), "unknown activation 'rleu'"),
        (("diagnose", "relu", "--task", "digits"), "unknown task"),
        (("diagnose", "--lesson", "vanishng"), "Did you mean 'vanishing'"),
        (("diagnose", "relu", "--plot", "a.gif"), ".png"),
        (("diagnose", "relu", "--plot", "a.png", "--quantity", "gradiant"), "'gradient'"),
        (("diagnose", "relu", "--protocol", "he"), "protocol='he'"),
    ],
)
def test_bad_input(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
