"""The compiled core against the reference, child by child."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin import native
from nonlin.tasks import task
from nonlin.train import fit
from nonlin.train.engine import fit_in_core, obstacle

DIGITS = task("digits-mlp")
SHORT = dataclasses.replace(DIGITS, budget=nl.Budget(epochs=6, batch_size=128, learning_rate=2e-3))
CALM = ["relu", "gelu", "silu", "tanh", "swish", "prelu", "elu", "min(x, sin(x))", "x", "exp(-beta*x**2)", "crrelu"]


def waves() -> nl.Data:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 3))
    return nl.Data.from_arrays(x, np.sin(2 * x[:, 0]) + x[:, 1])


def build_waves(act):
    return nn.Sequential(nn.Linear(3, 16), act(16), nn.Linear(16, 8), act(8), nn.Linear(8, 1))


WAVES = nl.Task("waves", build_waves, waves, nl.Budget(epochs=6, batch_size=32, optimizer="sgd", learning_rate=0.01))


@pytest.mark.parametrize("spec", CALM)
@pytest.mark.parametrize("trained", [SHORT, WAVES], ids=["digits", "waves"])
@pytest.mark.parametrize("per", ["channel", "tensor"])
def test_equals_the_reference(spec, trained, per):
    expected = fit(trained, spec, seed=2, per=per)
    found = fit_in_core(trained, nl.activation(spec), seed=2, per=per)
    assert found.status == expected.status == "ok"
    assert found.epochs == expected.epochs
    for name, curve in expected.curves.items():
        assert found.curves[name] == pytest.approx(curve, rel=2e-3, abs=3e-3), name
    assert found.parameters == pytest.approx(expected.parameters, abs=2e-3)
    assert found.loss == pytest.approx(expected.loss, rel=2e-3)


@pytest.mark.parametrize("formula", ["sqrt(x)", "exp(exp(x**2))", "log(x)"])
def test_divergence_is_the_same(formula):
    found = fit_in_core(SHORT, nl.activation(formula))
    assert (found.status, found.epochs) == ("diverged", 0)
    assert math.isnan(found.score)


def test_rungs_stop_where_the_reference_stops():
    for rungs in ({2: 0.01}, {2: 100.0, 4: 0.01}, {2: 100.0, 6: 0.0}):
        expected = fit(SHORT, "sigmoid", rungs=rungs)
        found = fit_in_core(SHORT, nl.activation("sigmoid"), rungs=rungs)
        assert (found.status, found.epochs) == (expected.status, expected.epochs)
        assert len(found.curves["loss"]) == found.epochs


def test_deterministic_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (fit_in_core(SHORT, nl.activation("swish"), seed=3) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert (first.curves, first.parameters) == (second.curves, second.parameters)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"build": lambda act: nn.Sequential(nn.Linear(64, 8), act(8), nn.Dropout(), nn.Linear(8, 10))}, "Sequential"),
        ({"build": lambda act: nn.Sequential(nn.Linear(64, 8, bias=False), act(8), nn.Linear(8, 10))}, "Sequential"),
        (
            {
                "build": lambda act: nn.Sequential(
                    nn.Linear(64, 8), act(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10)
                )
            },
            "Sequential",
        ),
        ({"budget": nl.Budget(epochs=1, weight_decay=0.1)}, "weight decay"),
    ],
)
def test_other_tasks_are_left_to_the_reference(change, reason):
    changed = dataclasses.replace(SHORT, name="other", **change)
    if native.available():
        assert reason in obstacle(changed)
    budget = dataclasses.replace(changed.budget, epochs=1)
    changed = dataclasses.replace(changed, budget=budget)
    expected, found = fit(changed, "relu"), fit_in_core(changed, nl.activation("relu"))
    assert found.curves == expected.curves


def test_digits_are_trained_in_the_core_where_it_is_built():
    assert bool(obstacle(DIGITS)) != native.available()
    assert not native.available() or obstacle(DIGITS) == ""
