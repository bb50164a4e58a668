"""The reference training: status, fairness, determinism, and equality with a hand-written loop."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.errors import TaskError
from nonlin.tasks import Factory, task
from nonlin.train import fit

DIGITS = task("digits-mlp")
SHORT = dataclasses.replace(DIGITS, budget=nl.Budget(epochs=3, batch_size=128, learning_rate=2e-3))


def test_learns():
    outcome = fit(DIGITS, "relu")
    assert outcome.status == "ok"
    assert outcome.score > 0.95
    assert outcome.epochs == 20
    assert [len(curve) for curve in outcome.curves.values()] == [20, 20, 20, 20]
    assert outcome.curves["loss"][-1] == outcome.loss
    assert outcome.seconds > 0


def test_deterministic_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fit(SHORT, "swish", seed=3)
    assert torch.equal(torch.rand(3), expected)
    second = fit(SHORT, "swish", seed=3)
    assert (first.loss, first.curves, first.parameters) == (second.loss, second.curves, second.parameters)
    assert fit(SHORT, "swish", seed=4).loss != first.loss
    assert first.parameters["beta"] != 1.0


def test_equals_a_plain_loop():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 10))
    for index, layer in enumerate((model[0], model[2], model[4])):
        nn.init.normal_(layer.weight, std=(1 if index == 0 else math.sqrt(2)) / 8)
        nn.init.zeros_(layer.bias)
    # linear layers draw their default initialisation first, as in the task's own build
    torch.manual_seed(1)
    reference = DIGITS.model(Factory(nl.activation("silu")))
    model.load_state_dict(dict(zip(model.state_dict(), reference.state_dict().values(), strict=True)))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    data = DIGITS.load()
    order = torch.Generator().manual_seed(1)
    for _ in range(3):
        for rows in torch.randperm(len(data.train[0]), generator=order).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data.train[0][rows]), data.train[1][rows]).backward()
            optimizer.step()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(data.validation[0]), data.validation[1]).item()
    assert fit(SHORT, "silu", seed=1, normalise=False).loss == pytest.approx(loss, rel=1e-4)


def test_children_share_initial_weights_and_batches():
    weights = []
    for name in ("relu", "tanh"):
        torch.manual_seed(0)
        weights.append(DIGITS.model(Factory(nl.activation(name)))[0].weight)
    assert torch.equal(*weights)
    same = [fit(SHORT, formula) for formula in ("relu", "max(x, 0)", "0.5*(x + abs(x))")]
    assert same[0].loss == pytest.approx(same[1].loss, rel=1e-3)
    assert same[0].loss == pytest.approx(same[2].loss, rel=1e-3)


def test_normalising_takes_scale_out():
    plain, scaled = (
        fit(SHORT, formula, normalise=True).curves["train_loss"][0] for formula in ("silu", "4*x*sigmoid(x)")
    )
    raw = fit(SHORT, "4*x*sigmoid(x)", normalise=False).curves["train_loss"][0]
    assert abs(plain - scaled) < 0.6
    assert abs(plain - raw) > abs(plain - scaled)


@pytest.mark.parametrize("formula", ["sqrt(x)", "exp(exp(x**2))", "log(x)"])
def test_divergence_is_a_result(formula):
    outcome = fit(SHORT, formula)
    assert outcome.status == "diverged"
    assert math.isnan(outcome.score)
    assert outcome.epochs == 0


def test_rungs_stop():
    outcome = fit(SHORT, "sigmoid", rungs={2: 0.01})
    assert (outcome.status, outcome.epochs) == ("stopped", 2)
    assert fit(SHORT, "relu", rungs={2: 100.0, 3: 0.0}).status == "ok"


def broken(act):
    return nn.Sequential(nn.Linear(64, 10), act(3))


def test_failure_is_a_result_with_the_reason():
    outcome = fit(
        dataclasses.replace(SHORT, name="broken", build=lambda act: nn.Sequential(act(), nn.Linear(3, 3))), "relu"
    )
    assert outcome.status == "failed"
    assert "shapes cannot be multiplied" in outcome.error


def test_an_unusable_task_is_an_error():
    with pytest.raises(TaskError, match="returned str"):
        fit(dataclasses.replace(SHORT, name="broken", build=lambda act: "model"), "relu")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_other_optimizers_and_regression(optimizer):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 3))
    y = np.sin(2 * x[:, 0]) + x[:, 1]
    regression = nl.Task(
        name="waves",
        build=lambda act: nn.Sequential(nn.Linear(3, 32), act(32), nn.Linear(32, 1)),
        data=nl.Data.from_arrays(x, y),
        budget=nl.Budget(epochs=60, batch_size=32, optimizer=optimizer, learning_rate=0.02, weight_decay=1e-4),
    )
    outcome = fit(regression, "snake" if "snake" in nl.zoo.names() else "sin")
    assert outcome.status == "ok"
    assert outcome.score > 0.8
