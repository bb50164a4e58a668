"""What SELU's authors require: weights of variance 1/fan_in, dropout that keeps mean and variance."""

import math

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.nn import alpha_dropout, lecun_normal_
from nonlin.nn.self_normalising import fan_in

ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Linear(150, 400), 150),
        (nn.Conv2d(16, 200, 3), 16 * 9),
        (nn.Conv2d(16, 200, 3, groups=4), 4 * 9),
        (nn.Conv1d(50, 300, 5), 250),
        (nn.ConvTranspose2d(16, 200, 3), 16 * 9),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weights(layer, inputs):
    torch.manual_seed(0)
    assert fan_in(layer) == inputs
    model = nn.Sequential(layer)
    assert lecun_normal_(model) is model
    weight = layer.weight.detach()
    assert float(weight.mean()) == pytest.approx(0, abs=4 / math.sqrt(inputs * weight.numel()))
    assert float(weight.var()) * inputs == pytest.approx(1, abs=5 * math.sqrt(2 / weight.numel()))
    assert not layer.bias.any()


def test_other_layers_are_left_alone():
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 4, bias=False))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lecun_normal_(model)
    assert [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])] == ["2.weight"]


def test_selu_normalises_itself():
    """Mean 0 and variance 1, thirty layers deep; ReLU with the same weights dies out."""
    torch.manual_seed(0)
    x = torch.randn(2000, 300)

    def deep(name):
        model = nn.Sequential(
            *(part for _ in range(30) for part in (nn.Linear(300, 300), nl.activation(name).module()))
        )
        with torch.no_grad():
            return lecun_normal_(model)(x)

    out = deep("selu")
    assert float(out.mean()) == pytest.approx(0, abs=0.1)
    assert float(out.std()) == pytest.approx(1, abs=0.1)
    assert float(deep("relu").std()) < 1e-3


def test_alpha_dropout_takes_the_place_of_dropout():
    shared = nn.Dropout(0.3)
    inner = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5, inplace=True), nn.Dropout2d(0.25))
    model = nn.Sequential(shared, inner, shared, nn.AlphaDropout(0.1)).eval()
    assert alpha_dropout(model) == ["0", "1.1", "1.2", "2"]
    assert [type(part).__name__ for part in model.modules()] == [
        "Sequential", "AlphaDropout", "Sequential", "Linear", "AlphaDropout", "FeatureAlphaDropout", "AlphaDropout",
    ]  # fmt: skip
    assert model[0] is model[2]
    assert [model[0].p, inner[1].p, inner[2].p, model[3].p] == [0.3, 0.5, 0.25, 0.1]
    assert inner[1].inplace
    assert not model[0].training
    assert alpha_dropout(model) == []


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_alpha_dropout_is_the_papers(rate):
    """Dropped values become a·α' + b, kept ones a·x + b, with α' = -λα; mean 0 and variance 1 stay."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(rate))
    alpha_dropout(model)
    x = torch.randn(400_000, dtype=torch.float64)
    out = model(x)
    keep, low = 1 - rate, -SCALE * ALPHA
    assert low == pytest.approx(-1.7580993408473766, abs=1e-15)
    a = (keep * (1 + rate * low**2)) ** -0.5
    b = -a * rate * low
    dropped = torch.isclose(out, torch.tensor(a * low + b, dtype=out.dtype), rtol=0, atol=1e-6)
    assert float(dropped.double().mean()) == pytest.approx(rate, abs=0.005)
    assert torch.allclose(out[~dropped], a * x[~dropped] + b, atol=1e-6)
    assert float(out.mean()) == pytest.approx(0, abs=0.01)
    assert float(out.var()) == pytest.approx(1, abs=0.01)
