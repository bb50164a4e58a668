"""Activations in Ray Tune. The cluster itself runs in the example; here its parts, and one small search."""

import sys

import pytest

import nonlin as nl
from nonlin.errors import MissingExtraError, SearchError
from nonlin.expr.identity import IdentityIndex
from nonlin.train import fit


@pytest.fixture
def tune(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    return pytest.importorskip("ray.tune")


def test_a_grid_has_each_function_once(tune):
    found = nl.ray_tune.grid(["relu", "max(x, 0)", "gelu"])["grid_search"]
    assert found == ["relu", "gelu"]
    formulas = nl.ray_tune.grid(space="core-2", number=40, seed=1)["grid_search"]
    index = IdentityIndex()
    assert all(index.add(nl.activation(formula).expr)[1] for formula in formulas)
    assert len(formulas) == 40


def test_a_choice_is_among_different_functions(tune):
    domain = nl.ray_tune.choice(["relu", "max(x, 0)", "x*tanh(x)"])
    assert domain.categories == ["relu", "x*tanh(x)"]
    assert {domain.sample() for _ in range(40)} == {"relu", "x*tanh(x)"}


def test_the_trainable_reports_what_fit_measures(tune, monkeypatch):
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    nl.ray_tune.trainable("tabular-cancer")({"activation": "swish", "epochs": 3, "learning_rate": 0.01, "seed": 4})
    from dataclasses import replace

    task = nl.tasks.task("tabular-cancer")
    truth = fit(replace(task, budget=replace(task.budget, epochs=3, learning_rate=0.01)), "swish", 4)
    assert [row["score"] for row in reports] == truth.curves["score"]
    assert [row["loss"] for row in reports] == truth.curves["loss"]
    assert [row["epoch"] for row in reports] == [1, 2, 3]


def test_a_training_that_diverges_reports_the_last_finite_figures(tune, monkeypatch):
    reports = []
    monkeypatch.setattr("ray.tune.report", reports.append)
    nl.ray_tune.trainable("tabular-cancer")({"activation": "exp(x**2)", "epochs": 2, "learning_rate": 1000.0})
    assert reports[-1]["status"] == "diverged"
    assert reports[-1]["score"] < 1


def test_a_scheduler_may_stop_a_training(tune, monkeypatch):
    def enough(row):
        if row["epoch"] == 2:
            raise SystemExit  # what Ray does to a trial

    monkeypatch.setattr("ray.tune.report", enough)
    with pytest.raises(SystemExit):
        nl.ray_tune.trainable("tabular-cancer")({"activation": "relu", "epochs": 50})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "has no 'activation'"),
        ({"activation": "relu", "lr": 0.1}, "'lr' is no setting of a training; it may have activation, seed"),
        ({"activation": "no_such"}, "unknown activation"),
    ],
    ids=["none", "setting", "name"],
)
def test_a_configuration_that_cannot_be_trained(tune, config, message):
    with pytest.raises(nl.errors.NonlinError, match=message):
        nl.ray_tune.trainable("tabular-cancer")(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "got neither"),
        ({"choices": ["relu"], "space": "core-1"}, "got both"),
        ({"choices": ["relu"], "number": 3}, "a list is taken whole"),
        ({"space": "core-3"}, "say how many"),
    ],
    ids=["neither", "both", "number", "all"],
)
def test_bad_input(tune, arguments, message):
    with pytest.raises(SearchError, match=message):
        nl.ray_tune.grid(**arguments)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    for call in (lambda: nl.ray_tune.grid(["relu"]), lambda: nl.ray_tune.trainable("digits-mlp")):
        with pytest.raises(MissingExtraError, match=r"nonlin\[ray\]"):
            call()
