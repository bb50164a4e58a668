"""Gains against the published table (facts computed to five digits) and torch's own."""

import math

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.nn.initialise import layers_after_activations, match_gain

TABLE = {  # name: (1/sqrt E f², 1/std f)
    "gelu": (1.53353, 1.70093), "silu": (1.67653, 1.78719), "mish": (1.48685, 1.59203), "elu": (1.24520, 1.27084),
    "tanhexp": (1.37478, 1.47381), "serf": (1.41221, 1.50881), "logish": (2.26767, 2.39108),
    "smish": (2.51295, 2.63577), "gish": (2.00213, 2.12207), "golu": (1.76878, 1.98957), "relu2": (0.81650, 0.89443),
    "hard_swish": (1.73666, 1.81387), "sigmoid": (1.84623, 4.80131), "softplus": (1.04187, 1.91913),
    "crrelu": (1.40921, 1.70400),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table(name):
    assert nl.gain(name) == pytest.approx(TABLE[name][0], abs=6e-6)
    assert nl.gain(name, keeps="variance") == pytest.approx(TABLE[name][1], abs=6e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("relu", math.sqrt(2)), ("linear", 1), ("tanh", 1.59254), ("erf(x)", 1.46717), ("sin", 1.52087)]
)
def test_known(name, value):
    assert nl.gain(name) == pytest.approx(value, abs=6e-6)


@pytest.mark.parametrize(("formula", "value"), [("x > 0", math.sqrt(2)), ("floor(x)", 0.866025)])
def test_jumps(formula, value):
    assert nl.gain(formula) == pytest.approx(value, abs=6e-6)


def test_scaling():
    assert nl.gain("3*x*sigmoid(x)") == pytest.approx(nl.gain("silu") / 3, rel=1e-12)


@pytest.mark.parametrize("formula", ["0*x", "sqrt(x)", "exp(x**4)", "1/x", "tan(x)", "exp(x**2/4)"])
def test_no_gain(formula):
    with pytest.raises(NonlinError, match="has no gain"):
        nl.gain(formula)


def test_constant_has_no_variance():
    assert nl.gain("1") == pytest.approx(1.0)
    with pytest.raises(NonlinError, match="has no gain"):
        nl.gain("1", keeps="variance")
    with pytest.raises(NonlinError, match="'mean'"):
        nl.gain("relu", keeps="mean")


class Branches(nn.Module):
    """Convolution, pooling, a residual branch, a normalisation and a head."""

    def __init__(self, act):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.first = act.module()
        self.pool = nn.MaxPool2d(2)
        self.inner = nn.Linear(4, 4)
        self.plain = nn.Linear(4, 4)
        self.second = act.module()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        h = self.pool(self.first(self.stem(x))).mean(dim=(2, 3))
        return self.head(self.second(self.plain(self.inner(h))))


def test_only_layers_behind_an_activation_are_scaled():
    silu = nl.activation("silu")
    torch.manual_seed(0)
    model = Branches(silu)
    before = {name: p.clone() for name, p in model.named_parameters()}
    example = torch.randn(2, 1, 8, 8)
    assert layers_after_activations(model, example) == ["inner", "head"]
    assert match_gain(model, silu, example, nl.activation("relu")) == ["inner", "head"]
    factor = nl.gain("silu") / math.sqrt(2)
    for name, p in model.named_parameters():
        scaled = name in ("inner.weight", "head.weight")
        assert torch.allclose(p, before[name] * (factor if scaled else 1.0))
    assert model.training


def test_functions_without_gain_leave_the_weights():
    model = Branches(nl.activation("silu"))
    assert match_gain(model, nl.activation("sqrt(x)"), torch.randn(2, 1, 8, 8), nl.activation("relu")) == []


def test_the_gain_keeps_the_signal():
    torch.manual_seed(0)
    for name in ("relu", "gelu", "tanh", "silu"):
        h = torch.randn(512, 512)
        for _ in range(3):
            weight = torch.randn(512, 512) * nl.gain(name) / math.sqrt(512)
            h = nl.activation(name)(h) @ weight
        assert 0.7 < float(h.square().mean()) < 1.4


class Watched(nn.Sequential):
    """Not `nn.Sequential` itself, so that the layers are found by running it."""


@pytest.mark.parametrize("order", ["LALAL", "LLAAL", "ALLA"])
def test_layers_of_a_sequential_are_known_without_running_it(order):
    parts = [nn.Linear(3, 3) if kind == "L" else nl.activation("tanh").module() for kind in order]
    plain, watched = nn.Sequential(*parts), Watched(*parts)
    assert layers_after_activations(plain, torch.empty(0)) == layers_after_activations(watched, torch.randn(2, 3))
