"""`diagnose` against closed forms and planted faults, and that it changes nothing."""

import json
import math

import numpy as np
import pytest
import torch
from diagnosed_networks import Functional, Linear, batch, mlp, seeded  # noqa: F401
from torch import nn
from torch.nn import functional as F

import nonlin as nl
from nonlin.diagnosis import QUANTITIES, diagnose
from nonlin.diagnosis.measures import BINS, LEVELS, Distribution, slope_of
from nonlin.errors import DiagnosisError, NonlinError


def test_numbers_against_their_formulas():
    x = torch.tensor([[0.1, -0.3], [0.5, 0.2], [-1.0, 0.7], [2.0, -0.9]])
    y = torch.tensor([[1.0], [0.0], [2.0], [-1.0]])
    found = diagnose(Linear(), (x, y), learning_rate=0.5)
    t = x.tanh()
    error = t @ torch.tensor([[3.0], [-4.0]]) - y  # (4, 1)
    assert found.loss == pytest.approx(float((error**2).mean()), rel=1e-6)
    by_output = 2 * error / 4 * torch.tensor([[3.0, -4.0]])  # (4, 2)
    by_weight = (2 * error / 4 * t).sum(0)
    (layer,), (weight,) = found.layers, found.weights
    assert layer.gradient == pytest.approx(float(by_output.square().mean().sqrt()), rel=1e-5)
    assert layer.slope == pytest.approx(float((1 - t**2).square().mean().sqrt()), rel=1e-5)
    assert (layer.mean, layer.std) == pytest.approx((float(t.mean()), float(t.std(unbiased=False))), rel=1e-5)
    assert weight.weight_norm == pytest.approx(5)
    assert weight.gradient_norm == pytest.approx(float(by_weight.norm()), rel=1e-5)
    assert weight.update_ratio == pytest.approx(0.5 * float(by_weight.norm()) / 5, rel=1e-5)
    assert layer.pre_activations.quantiles[0] == pytest.approx(-1.0)
    assert layer.pre_activations.quantiles[-1] == pytest.approx(2.0)


def test_ratio_is_the_optimizers_real_step():
    x = torch.randn(32, 2)
    model = Linear()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    found = diagnose(model, (x, torch.zeros(32, 1)), optimizer=optimizer)
    # Adam's first step is the learning rate times the gradient's sign
    assert found.weights[0].update_ratio == pytest.approx(0.01 * math.sqrt(2) / 5, rel=1e-4)
    assert not optimizer.state
    for _ in range(3):  # with a state behind it the step is the one that really follows
        optimizer.zero_grad()
        F.mse_loss(model(x), torch.zeros(32, 1)).backward()
        optimizer.step()
    told = diagnose(model, (x, torch.zeros(32, 1)), optimizer=optimizer).weights[0]
    before = model.scale.weight.detach().clone()
    optimizer.zero_grad()
    F.mse_loss(model(x), torch.zeros(32, 1)).backward()
    optimizer.step()
    real = float((model.scale.weight.detach() - before).norm() / before.norm())
    assert told.update_ratio == pytest.approx(real, rel=1e-5)


def test_dead_and_constant_units_are_counted():
    model = mlp(nn.ReLU(), nn.Sigmoid())
    with torch.no_grad():
        model[0].bias[:4] = -100  # never above 0
        model[2].bias[:2] = 200  # σ' underflows
        model[2].weight[5] = 0  # a constant with a slope
    relu, sigmoid = diagnose(model, batch()).layers
    assert relu.dead == pytest.approx(4 / 16)
    assert relu.constant == pytest.approx(4 / 16)
    assert sigmoid.dead == pytest.approx(3 / 16)
    assert relu.saturated == pytest.approx(relu.zeros, abs=1e-6)
    assert relu.sparsity >= relu.zeros > 0.25


@pytest.mark.parametrize(
    ("module", "flat"),
    [(nn.Tanh(), lambda x: 1 / np.cosh(x) ** 2), (nn.Sigmoid(), lambda x: 4 * np.exp(-x) / (1 + np.exp(-x)) ** 2)],
)
def test_saturated_share_of_a_known_function(module, flat):
    model = nn.Sequential(nn.Identity(), module)
    x = torch.linspace(-8, 8, 4000).reshape(400, 10)
    (layer,) = diagnose(model, x).layers
    assert layer.saturated == pytest.approx(float((flat(x.double().numpy()) < 0.05).mean()), abs=2e-3)


def test_entropy_of_known_outputs():
    model = nn.Sequential(nn.Tanh())
    x = torch.atanh(torch.rand(4000, 10).clamp(1e-6, 1 - 1e-6))  # outputs uniform on (0, 1)
    (layer,) = diagnose(model, x).layers
    noise = 0.1 / math.sqrt(12)
    assert abs(layer.H) < 4 * noise  # log(1), seen through a little noise
    gaussian = 0.5 * math.log(2 * math.pi * math.e * 1.01 / 12)
    assert abs(layer.J - layer.H + gaussian) < 0.01


def test_distribution_counts_everything_once():
    values = torch.cat([torch.randn(5000), torch.tensor([1e6, math.inf, math.nan])])
    found = Distribution.of(values)
    assert found.count == 5003
    assert found.finite == pytest.approx(5001 / 5003)
    assert sum(found.counts) == 5001
    assert (len(found.counts), len(found.edges), len(found.quantiles)) == (BINS, BINS + 1, len(LEVELS))
    assert found.quantiles[4] == pytest.approx(0, abs=0.05)
    assert found.edges[-1] < 10  # the outlier does not flatten the histogram


@pytest.mark.parametrize("name", ["gelu", "mish", "x*tanh(x)"])
def test_slope_equals_the_symbolic_derivative(name):
    act = nl.activation(name)
    x = torch.randn(50, 8, dtype=torch.float64)
    assert torch.allclose(slope_of(act.module(), x), act.derivative()(x), atol=1e-12)


# It changes nothing


def test_model_gradients_mode_statistics_and_random_numbers_stay():
    model = nn.Sequential(
        nn.Linear(16, 8), nn.BatchNorm1d(8), nn.RReLU(inplace=True), nn.Dropout(0.5),
        nl.nn.Adaptive("relu", every=1), nn.Linear(8, 3),
    )  # fmt: skip
    data = batch()
    F.cross_entropy(model(data[0]), data[1]).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen = model[4].correction._turn.seen
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    random = torch.get_rng_state()
    for optional in (None, optimizer):
        for training in (True, False):
            model.train(training)
            diagnose(model, data, optimizer=optional)
            assert model.training is training
            assert model[1].training is training
    model.train()
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert all(
        torch.equal(a, p.grad)
        for a, p in zip(gradients, (p for p in model.parameters() if p.grad is not None), strict=True)
    )
    assert not optimizer.state
    assert model[4].correction._turn.seen is seen  # the copy's step is not counted by the user's layers
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_works_under_no_grad_and_inference_mode():
    model, data = mlp(nn.Tanh()), batch()
    plain = diagnose(model, data)
    with torch.no_grad():
        assert diagnose(model, data) == plain
    with torch.inference_mode():
        assert diagnose(model, data).layers[0].gradient == pytest.approx(plain.layers[0].gradient)


def test_caller_tensors_stay():
    x, y = batch()
    kept = x.clone()
    diagnose(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(16, 3)), (x, y))
    assert torch.equal(x, kept)


# Warnings


def test_a_healthy_network_has_no_warnings():
    model = mlp(nn.Tanh(), nn.Tanh())
    assert diagnose(model, batch()).warnings() == []


def test_warnings_name_the_planted_fault():
    deep = mlp(*(nn.Sigmoid() for _ in range(12)))
    assert any("gradients vanish" in text for text in diagnose(deep, batch()).warnings())
    large = mlp(*(nn.Tanh() for _ in range(2)))
    with torch.no_grad():
        large[0].weight.mul_(200)
    assert any("saturated" in text for text in diagnose(large, batch()).warnings())
    explode = mlp(*(nn.LeakyReLU(0.9) for _ in range(9)))
    with torch.no_grad():
        for part in explode[2::2]:
            part.weight.mul_(0.05)
        explode[-1].weight.mul_(1e9)
    fast = diagnose(explode, batch(), learning_rate=10.0).warnings()
    assert any("learning rate is usually too large" in text for text in fast)
    dead = mlp(nn.ReLU())
    with torch.no_grad():
        dead[0].bias.fill_(-100)
    texts = diagnose(dead, batch()).warnings()
    assert any("100% of the units of 1 are dead" in text for text in texts)
    assert any("same output for every input" in text for text in texts)
    broken = mlp(nn.ReLU())
    with torch.no_grad():
        broken[0].weight[0, 0] = math.nan
    texts = diagnose(broken, batch()).warnings()
    assert any("1 is the first layer whose outputs are not all finite" in text for text in texts)


# Showing


def test_text_json_and_pictures(tmp_path):
    found = diagnose(mlp(nl.activation("swish").module(), nn.ReLU()), batch())
    text = str(found)
    for word in ("swish", "|update|/|weight|", "saturated", "beta"):
        assert word in text
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert data["layers"][0]["parameters"]["beta"]["mean"] == 1.0
    assert len(data["layers"][0]["pre_activations"]["counts"]) == BINS
    found.plot(tmp_path / "all.svg")
    assert (tmp_path / "all.svg").read_text().count('<g id="axes_') == len(QUANTITIES)
    for quantity in ("gradient", "moments", "entropy", "pre-activations"):
        found.plot(tmp_path / f"{quantity}.png", quantity)
        assert (tmp_path / f"{quantity}.png").stat().st_size > 3000
    with pytest.raises(NonlinError, match="'gradient'"):
        found.plot(tmp_path / "a.png", "gradiant")
    diagnose(Functional(), batch()[0]).plot(tmp_path / "forward.png")  # nothing measured in most panels


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no model", batch()), "needs a torch.nn.Module; got str"),
        ((mlp(nn.ReLU()), (torch.randn(4, 7), torch.zeros(4).long())), r"fails on this .*\(4, 7\).*shapes cannot"),
        ((mlp(nn.ReLU()), (torch.full((4, 16), math.nan), torch.zeros(4).long())), "64 values that are NaN"),
        ((mlp(nn.ReLU()), "text"), "tensors or arrays; got str"),
        ((mlp(nn.ReLU()), (1, 2, 3)), "3 items in a tuple"),
        ((mlp(nn.ReLU()), (torch.randn(4, 16), torch.zeros(5).long())), "default loss .* fails on output"),
        ((mlp(nn.ReLU()), batch(), lambda out, y: out), "one number in a tensor; got .64, 3."),
        ((mlp(nn.ReLU()), batch(), "mse"), "function of .output, target.; got str"),
        ((mlp(nn.ReLU()), batch(), None, torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)), "no parameter of this"),
        ((mlp(nn.ReLU()), batch(), None, "adam"), "torch.optim.Optimizer; got str"),
        ((mlp(nn.ReLU()), batch(), None, None, ["relu"]), "'relu' is neither a layer"),
        ((mlp(nn.ReLU()), batch(), None, None, [nn.GELU]), "has no GELU. It has Linear, ReLU, Sequential"),
        ((mlp(nn.ReLU()), batch(), None, None, None, -1), "learning_rate=-1"),
        ((mlp(nn.ReLU()), torch.zeros(0, 16)), "empty"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_clear_error(arguments, message):
    with pytest.raises(DiagnosisError, match=message):
        diagnose(*arguments)


def test_an_optimizer_that_needs_a_closure():
    model = mlp(nn.ReLU())
    with pytest.raises(DiagnosisError, match="LBFGS cannot be taken"):
        diagnose(model, batch(), optimizer=torch.optim.LBFGS(model.parameters()))
