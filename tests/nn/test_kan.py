"""`KANLinear`: fits functions better than a perceptron of its size, adapts its inputs' scale, shows its edges."""

import copy

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.nn import KANLinear, parameter_groups
from nonlin.nn.kan import hermite_functions, hermite_to_powers


def test_hermite_functions_are_orthonormal():
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    h = hermite_functions(z, 8)  # (points, order)
    gram = h.T @ h * (z[1] - z[0])
    assert torch.allclose(gram, torch.eye(8, dtype=torch.float64), atol=1e-10)
    powers = z[:, None] ** torch.arange(8) * torch.exp(-0.5 * z * z)[:, None]
    assert torch.allclose(powers @ hermite_to_powers(8).T, h, atol=1e-9)


def fit(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int = 400, rate: float = 0.01) -> float:
    optimizer = torch.optim.Adam(parameter_groups(model, 0.0), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
    return float(loss.detach())


def test_fits_better_than_a_perceptron_of_its_size():
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(512, 2, generator=generator) - 2
    y = torch.exp(torch.sin(2 * x[:, :1]) + 0.3 * x[:, 1:] ** 2)  # the kind of function KANs were made for
    torch.manual_seed(0)
    kan = nn.Sequential(KANLinear(2, 4, order=6), KANLinear(4, 1, order=6))
    perceptron = nn.Sequential(nn.Linear(2, 22), nn.SiLU(), nn.Linear(22, 1))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (kan, perceptron)]
    assert sizes[0] <= sizes[1]
    assert fit(kan, x, y) < 0.5 * fit(perceptron, x, y)


def test_inputs_of_any_scale():
    torch.manual_seed(0)
    x = torch.randn(512, 2) * torch.tensor([300.0, 0.01]) + torch.tensor([1000.0, 0.0])
    layer = KANLinear(2, 1, base="tanh")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    layer(x).sum().backward()
    optimizer.step()
    assert torch.allclose(layer.mean, x.mean(dim=0), rtol=1e-3, atol=1e-4)
    assert torch.allclose(layer.deviation, x.std(dim=0), rtol=1e-2)
    state = copy.deepcopy(layer.state_dict())
    again = KANLinear(2, 1, base="tanh")
    again.load_state_dict(state)
    assert torch.equal(again.eval()(x), layer.eval()(x))


def test_a_constant_input_keeps_its_statistics():
    layer = KANLinear(2, 1)
    x = torch.randn(100, 2)
    x[:, 1] = 5.0
    layer(x)
    layer.step()
    assert (layer.mean[1], layer.deviation[1]) == (0.0, 1.0)
    assert layer.mean[0] != 0.0


def test_edges_are_formulas_that_add_up():
    torch.manual_seed(0)
    layer = KANLinear(3, 2, base="gelu", order=5)
    x = torch.randn(200, 3)
    layer(2 * x + 1)
    layer.step()
    layer.eval()
    for output in range(2):
        total = layer.bias[output] + sum(layer.edge(output, j)(x[:, j]) for j in range(3))
        assert torch.allclose(total, layer(x)[:, output], atol=1e-5)
    edge = layer.edge(1, 2)
    assert nl.activation(edge.formula).formula == edge.formula


def test_gradients_shapes_and_precision():
    layer = KANLinear(3, 2).double().eval()
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert layer(x).shape == (2, 4, 2)
    assert torch.autograd.gradcheck(layer, (x,))
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            assert torch.isfinite(KANLinear(3, 2)(torch.full((2, 3), 300.0))).all()
        assert KANLinear(3, 2).to(dtype)(torch.ones(2, 3, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KANLinear(0, 2), "in_features=0"),
        (lambda: KANLinear(2, 2, order=0), "order=0"),
        (lambda: KANLinear(2, 2, noise=-0.1), "noise=-0.1"),
        (lambda: KANLinear(2, 2, base="prelu"), "edges have their own"),
        (lambda: KANLinear(2, 2)(torch.ones(1, 3)), r"2 features; got shape \(1, 3\)"),
        (lambda: KANLinear(2, 2).edge(2, 0), "no edge from input 0 to output 2"),
    ],
)
def test_wrong_use_says_what_to_do(make, message):
    with pytest.raises(NonlinError, match=message):
        make()


def test_repr_and_noise():
    layer = KANLinear(2, 3, noise=0.0)
    assert "in_features=2, out_features=3, base='silu', order=6" in repr(layer)
    x = torch.randn(5, 2)
    assert torch.allclose(layer(x), nn.functional.linear(nn.functional.silu(x), layer.weight))
