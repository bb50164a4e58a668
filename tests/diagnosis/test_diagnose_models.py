"""`diagnose` on any kind of model: shared and wrapped modules, images, dictionaries, half precision."""

import math

import pytest
import torch
from diagnosed_networks import Functional, batch, mlp, seeded  # noqa: F401
from torch import nn
from torch.nn import functional as F

import nonlin as nl
from nonlin.diagnosis import activation_layers, diagnose


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.act = nn.Linear(16, 16), nn.Linear(16, 3), nn.GELU()

    def forward(self, x):
        x = self.act(self.first(x))
        x += 1  # overwrites what the layer returned
        return self.second(self.act(x)), x


def test_shared_modules_and_tuples():
    found = diagnose(Shared(), batch())
    assert [layer.title for layer in found.layers] == ["act", "act #2"]
    assert found.layers[1].pre_activations.mean > found.layers[0].mean + 0.9
    assert [weight.name for weight in found.weights] == ["first", "second"]
    assert all(layer.gradient > 0 for layer in found.layers)


def test_inplace_activation_sees_its_own_input():
    torch.manual_seed(1)
    plain = mlp(nn.ReLU())
    inplace = mlp(nn.ReLU(inplace=True))
    inplace.load_state_dict(plain.state_dict())
    data = batch()
    assert diagnose(plain, data).layers[0].pre_activations == diagnose(inplace, data).layers[0].pre_activations


def test_images_and_sequences_count_their_own_units():
    images = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
    (layer,) = diagnose(images, (torch.randn(8, 1, 8, 8), torch.randint(0, 3, (8,)))).layers
    assert (layer.units, layer.dimension) == (6, 1)
    words = nn.Sequential(nn.Embedding(11, 12), nn.Linear(12, 20), nn.SiLU(), nn.Linear(20, 11))
    tokens = torch.randint(0, 11, (4, 7))
    found = diagnose(words, (tokens, tokens))
    assert (found.layers[0].units, found.layers[0].dimension) == (20, 2)
    assert found.weights[0].looked_up
    series = nn.Sequential(nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5), nn.PReLU(5), nn.Flatten(), nn.Linear(30, 3))
    (layer,) = diagnose(series, (torch.randn(8, 2, 8), torch.randint(0, 3, (8,)))).layers
    assert (layer.units, layer.dimension) == (5, 1)
    assert layer.parameters["weight"].count == 5


def test_own_activations_show_their_parameters():
    act = nl.activation("x*sigmoid(beta*x)", beta=1.5).module(per="channel", channels=16)
    found = diagnose(mlp(act, nl.nn.Adaptive("gelu")), batch())
    assert found.layers[0].formula == "x*sigmoid(beta*x)"
    assert found.layers[0].parameters["beta"].quantiles[4] == pytest.approx(1.5)
    assert found.layers[1].kind == "adaptive gelu"
    assert found.parameters().rows[0][:3] == ("1", "beta", 16)


def test_functional_activations_are_said_to_be_invisible():
    found = diagnose(Functional(), batch())
    assert [layer.name for layer in found.layers] == ["first", "second"]
    assert "torch.nn.functional.relu" in found.notes[0]
    assert "layers=" in found.notes[0]


class Squash(nn.Module):
    def forward(self, x):
        return x / (1 + x.abs())


def test_layers_by_name_and_by_type():
    model = mlp(nn.ReLU(), Squash())
    assert [layer.name for layer in diagnose(model, batch()).layers] == ["1"]
    for wanted in (["3"], [Squash], Squash, "3"):
        found = diagnose(model, batch(), layers=wanted)
        assert [layer.name for layer in found.layers] == ["1", "3"]
        assert found.layers[1].slope is not None
    mixing = diagnose(
        nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 3)), batch(), layers=nn.LayerNorm
    )
    assert mixing.layers[0].slope is None  # no derivative by its own input alone
    assert list(activation_layers(nn.Sequential(nn.Softmax(1), nn.GLU(), nn.ELU()))) == ["2"]


class WithLogits(nn.Module):
    """Takes and returns what transformers' models do."""

    def __init__(self):
        super().__init__()
        self.body = mlp(nn.GELU())

    def forward(self, features=None, labels=None):
        logits = self.body(features)
        return {"loss": None if labels is None else F.cross_entropy(logits, labels), "logits": logits}


def test_dictionaries_and_the_models_own_loss():
    x, y = batch()
    model = WithLogits()
    own = diagnose(model, {"features": x, "labels": y})
    assert own.loss == pytest.approx(float(F.cross_entropy(model.body(x), y).detach()))
    assert diagnose(model, (x, y)).loss == pytest.approx(own.loss)
    assert own.weights[0].gradient > 0


def test_forward_only_frozen_and_unused():
    model = mlp(nn.ReLU())
    found = diagnose(model, batch()[0])
    assert found.loss is None
    assert found.layers[0].gradient is None
    assert "no gradients" in found.notes[0]
    frozen = diagnose(model.requires_grad_(False), batch())
    assert frozen.weights[0].update_ratio is None
    assert "no weight is trained" in frozen.notes[0]
    model.extra = nn.Linear(3, 3)
    model.forward = lambda x: nn.Sequential.forward(model[:3], x)
    assert diagnose(mlp(nn.ReLU()).double(), (batch()[0].double(), batch()[1])).loss > 0


def test_half_precision_and_numpy():
    x, y = batch()
    found = diagnose(mlp(nn.GELU()).bfloat16(), (x.bfloat16(), y))
    assert math.isfinite(found.layers[0].std)
    assert found.layers[0].H is not None
    array = diagnose(mlp(nn.GELU()), (x.double().numpy(), y.numpy()))
    assert array.loss > 0
