"""Training as SELU's authors require, in both engines."""

import dataclasses

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin import native
from nonlin.errors import NonlinError
from nonlin.tasks import task
from nonlin.train import fit, fit_in_core, obstacle
from nonlin.train.initial import initial_model

SHORT = dataclasses.replace(task("digits-mlp"), budget=nl.Budget(epochs=4, learning_rate=2e-3))


def test_initial_model():
    torch.manual_seed(0)
    model = initial_model(SHORT, nl.activation("selu"), "channel", True, "selu")
    for layer in (model[0], model[2], model[4]):
        assert float(layer.weight.detach().square().mean()) * 64 == pytest.approx(1, abs=0.1)
        assert not layer.bias.any()
    plain = initial_model(SHORT, nl.activation("selu"), "channel", False, "common")
    assert float(plain[2].weight.detach().square().mean()) * 64 == pytest.approx(2, abs=0.2)


def test_dropout_becomes_alpha_dropout():
    def build(act):
        return nn.Sequential(nn.Linear(64, 16), act(16), nn.Dropout(0.1), nn.Linear(16, 10))

    dropped = dataclasses.replace(SHORT, name="dropped", build=build)
    act = nl.activation("selu")
    assert type(initial_model(dropped, act, "channel", True, "selu")[2]) is nn.AlphaDropout
    assert type(initial_model(dropped, act, "channel", True, "common")[2]) is nn.Dropout
    assert fit(dropped, act, protocol="selu").curves == fit_in_core(dropped, act, protocol="selu").curves


@pytest.mark.parametrize("name", ["selu", "tanh", "swish"])
def test_both_engines_train_the_same(name):
    expected = fit(SHORT, name, seed=1, protocol="selu")
    found = fit_in_core(SHORT, nl.activation(name), seed=1, protocol="selu")
    assert not native.available() or obstacle(SHORT) == ""
    for curve, values in expected.curves.items():
        assert found.curves[curve] == pytest.approx(values, rel=2e-3, abs=3e-3), curve
    assert expected.loss != pytest.approx(fit(SHORT, name, seed=1).loss, rel=1e-3)
    assert expected.loss == fit(SHORT, name, seed=1, protocol="selu", normalise=False).loss


@pytest.mark.parametrize("train", [fit, fit_in_core])
def test_unknown_protocol(train):
    with pytest.raises(NonlinError, match=r"protocol='selfish' is not known; use 'common' .* or 'selu'"):
        train(SHORT, nl.activation("relu"), protocol="selfish")
