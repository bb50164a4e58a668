"""Clipped gradients, against steps computed by hand."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin import native
from nonlin.errors import TaskError
from nonlin.tasks import task
from nonlin.train import fit, fit_in_core, obstacle
from nonlin.train.fit import train_model
from nonlin.train.outcome import Outcome

RATE = 0.1


class Line(nn.Module):
    """y = w·x from fixed weights."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, x):
        return x @ self.w


def one_step(budget):
    """The weights after one step of SGD on one row, and the gradient there."""
    x, y = np.array([[3.0, -0.2, 4.0]]), np.array([0.4])
    data = nl.Data((x, y), (x, y), (x, y))
    line = Line()
    trained = nl.Task("line", lambda act: line, data, budget)
    train_model(line, trained, 0, Outcome("ok"))
    return line.w.detach().numpy(), 2 * (3.0 + 0.4 + 2.0 - 0.4) * x[0]  # d/dw (w·x - y)^2 = 2 (w·x - y) x


def sgd(**clipping):
    return nl.Budget(epochs=1, batch_size=1, optimizer="sgd", learning_rate=RATE, **clipping)


@pytest.mark.parametrize(
    ("clipping", "clip"),
    [
        ({}, lambda g: g),
        ({"clip_value": 2.5}, lambda g: np.clip(g, -2.5, 2.5)),  # gradient (30, -2, 40)
        ({"clip_norm": 5.0}, lambda g: 5.0 * g / np.linalg.norm(g)),
        ({"clip_value": 100}, lambda g: g),
        ({"clip_norm": 100.0}, lambda g: g),
    ],
    ids=["none", "value", "norm", "large value", "large norm"],
)
def test_one_step(clipping, clip):
    weights, gradient = one_step(sgd(**clipping))
    assert gradient == pytest.approx([30, -2, 40])
    assert weights == pytest.approx(np.array([1.0, -2.0, 0.5]) - RATE * clip(gradient), rel=1e-5)


def test_the_core_clips_by_norm_and_says_that_it_does_not_by_value():
    norm, value = (
        dataclasses.replace(task("digits-mlp"), budget=nl.Budget(epochs=3, learning_rate=2e-3, **clipping))
        for clipping in ({"clip_norm": 0.3}, {"clip_value": 0.01})
    )
    plain = dataclasses.replace(norm, budget=nl.Budget(epochs=3, learning_rate=2e-3))
    if native.available():
        assert obstacle(norm) == ""
        assert "not by value" in obstacle(value)
    free = fit(plain, "swish").curves["loss"]
    for clipped in (norm, value):
        expected, found = fit(clipped, "swish"), fit_in_core(clipped, nl.activation("swish"))
        assert found.curves["loss"] == pytest.approx(expected.curves["loss"], rel=2e-3)
        assert expected.curves["loss"] != pytest.approx(free, rel=1e-2)


@pytest.mark.parametrize("name", ["clip_value", "clip_norm"])
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, True, "0.5"])
def test_bad_values(name, value):
    with pytest.raises(TaskError, match=f"{name} must be a finite number above 0, or None; got {value!r}"):
        nl.Budget(**{name: value})


def test_only_one_way_of_clipping():
    with pytest.raises(TaskError, match=r"clip_value=0\.5 and clip_norm=1\.0 are two ways"):
        nl.Budget(clip_value=0.5, clip_norm=1.0)


def test_budgets_stored_before_there_was_clipping_are_equal_to_those_without():
    stored = {"epochs": 20, "batch_size": 128, "optimizer": "adam", "learning_rate": 0.001, "weight_decay": 0.0}
    assert nl.Budget().as_dict() == stored
    assert nl.Budget(clip_value=0.5).as_dict() == stored | {"clip_value": 0.5}
