"""Gated and vector-valued units against formulas written out by hand, and their gradients by finite differences."""

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonlin.errors import NonlinError
from nonlin.nn import (
    APL,
    CReLU,
    Derf,
    DyT,
    Gated,
    GatedFeedForward,
    GatedLinear,
    Maxout,
    MetaACON,
    PolyNorm,
    PolyReLU,
    RReLU,
    SReLU,
)  # fmt: skip

torch.set_num_threads(1)


def data(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


BY_HAND = {
    "glu": lambda g: 1 / (1 + math.exp(-g)),
    "reglu": lambda g: max(g, 0.0),
    "geglu": lambda g: g * 0.5 * (1 + math.erf(g / math.sqrt(2))),
    "swiglu": lambda g: g / (1 + math.exp(-g)),
    "bilinear": lambda g: g,
    "x*exp(-x**2)": lambda g: g * math.exp(-g * g),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_gates_by_hand(name):
    x = data(3, 8)
    result = Gated(name)(x)
    expected = [[float(row[i]) * BY_HAND[name](float(row[4 + i])) for i in range(4)] for row in x]
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_glu_is_torchs(dim):
    x = data(4, 6, 2)
    torch.testing.assert_close(Gated("sigmoid", dim)(x), F.glu(x, dim))


def test_names_are_read_in_any_case():
    x = data(2, 4)
    assert torch.equal(Gated("SwiGLU")(x), Gated("silu")(x))


def test_feed_forward_by_hand():
    torch.manual_seed(0)
    block = GatedFeedForward(6, 5, "geglu").double()
    w, v = block.inner.linear.weight[5:], block.inner.linear.weight[:5]
    x = data(2, 3, 6)
    expected = (F.gelu(x @ w.T) * (x @ v.T)) @ block.outer.weight.T
    torch.testing.assert_close(block(x), expected)


def test_feed_forward_has_the_usual_number_of_weights():
    weights = sum(p.numel() for p in GatedFeedForward(768).parameters())
    assert weights == 2 * 768 * 4 * 768
    assert GatedFeedForward(10).inner.linear.out_features == 2 * 32


def test_trainable_gate():
    layer = GatedLinear(3, 4, "x*sigmoid(beta*x)")
    layer(torch.ones(2, 3)).sum().backward()
    assert layer.gated.gate.beta.grad is not None


def test_maxout_by_hand():
    torch.manual_seed(0)
    layer = Maxout(3, 4, pieces=3).double()
    x = data(5, 3)
    pieces = F.linear(x, layer.linear.weight, layer.linear.bias)
    expected = torch.stack([pieces[:, 3 * i : 3 * i + 3].max(dim=1).values for i in range(4)], dim=1)
    torch.testing.assert_close(layer(x), expected)


def test_crelu_keeps_everything():
    x = data(2, 3, 4)
    y = CReLU()(x)
    assert y.shape == (2, 6, 4)
    torch.testing.assert_close(y[:, :3] - y[:, 3:], x)
    torch.testing.assert_close(y[:, :3] + y[:, 3:], x.abs())


def test_rrelu():
    layer, x = RReLU(), data(20000)
    torch.testing.assert_close(layer.eval()(x), F.rrelu(x, training=False))
    slopes = (layer.train()(x) / x)[x < 0]
    assert 1 / 8 <= slopes.min() < 0.13
    assert 0.328 < slopes.max() <= 1 / 3
    assert slopes.mean().item() == pytest.approx(11 / 48, abs=5 * (1 / 3 - 1 / 8) / math.sqrt(12 * len(slopes)))
    assert torch.equal(layer(x)[x > 0], x[x > 0])


@torch.no_grad()
@pytest.mark.parametrize("channels", [None, 3])
def test_apl_by_hand(channels):
    layer, x = APL(2, channels).double(), data(2, 3, 4)
    y = layer(x)
    for n, c, i in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        v, k = float(x[n, c, i]), c if channels else 0
        expected = max(v, 0) + sum(
            float(layer.slope[s, k]) * max(0, -v + float(layer.place[s, k])) for s in range(2)
        )  # fmt: skip
        assert float(y[n, c, i]) == pytest.approx(expected)


@torch.no_grad()
@pytest.mark.parametrize("channels", [None, 3])
def test_srelu_by_hand(channels):
    layer, x = SReLU(channels).double(), 2 * data(4, 3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter))
    y = layer(x)
    for n in range(4):
        for c in range(3):
            v, k = float(x[n, c]), c if channels else 0
            left, right = float(layer.left[k]), float(layer.right[k])
            inside = v if v < right else right + float(layer.right_slope[k]) * (v - right)
            expected = inside if v > left else left + float(layer.left_slope[k]) * (v - left)
            assert float(y[n, c]) == pytest.approx(expected)


def test_srelu_starts_as_a_leaky_relu():
    x = data(50)
    torch.testing.assert_close(SReLU().double()(x), F.leaky_relu(x, 0.2))


@torch.no_grad()
def test_meta_acon_by_hand():
    torch.manual_seed(0)
    layer, x = MetaACON(5).double().eval(), data(2, 5, 3, 4)
    with torch.no_grad():
        layer.shrink_norm.running_mean += 0.1
        layer.grow_norm.running_var *= 2
    mean = x.mean(dim=(2, 3))
    hidden = (layer.shrink(mean) - 0.1) / math.sqrt(1 + 1e-5)
    beta = torch.sigmoid(layer.grow(hidden) / math.sqrt(2 + 1e-5))
    y = layer(x)
    for n, c in ((0, 0), (1, 4), (1, 2)):
        p1, p2, v = float(layer.p1[c]), float(layer.p2[c]), x[n, c]
        gate = 1 / (1 + torch.exp(-beta[n, c] * (p1 - p2) * v))
        torch.testing.assert_close(y[n, c], (p1 - p2) * v * gate + p2 * v)
    assert layer(data(4, 5)).shape == (4, 5)


def test_polynomials_by_hand():
    layer = PolyReLU(3).double()
    with torch.no_grad():
        layer.coefficients.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    x = data(7)
    r = x.clamp(min=0)
    torch.testing.assert_close(layer(x), 0.1 + 0.2 * r + 0.3 * r**2 + 0.4 * r**3)
    norm, x = PolyNorm().double(), data(2, 6)
    expected = sum(F.rms_norm(x**i, (6,), eps=1e-6) for i in (1, 2, 3)) / 3
    torch.testing.assert_close(norm(x), expected)


def test_dyt_and_derf_by_hand():
    x = data(2, 4)
    pairs = ((DyT(4).double(), lambda v: math.tanh(0.7 * v)), (Derf(4).double(), lambda v: math.erf(0.7 * v + 0.2)))
    for layer, f in pairs:
        with torch.no_grad():
            layer.alpha.fill_(0.7)
            layer.weight.copy_(torch.arange(1.0, 5))
            layer.bias.copy_(torch.arange(4.0))
            if hasattr(layer, "shift"):
                layer.shift.fill_(0.2)
        expected = [[(i + 1) * f(float(row[i])) + i for i in range(4)] for row in x]
        torch.testing.assert_close(layer(x), torch.tensor(expected, dtype=torch.float64))


MAKERS = {
    "gated": lambda: Gated("swish"), "gated linear": lambda: GatedLinear(6, 3, "gelu"),
    "feed forward": lambda: GatedFeedForward(6, 4), "maxout": lambda: Maxout(6, 3), "crelu": CReLU,
    "rrelu": lambda: RReLU().eval(), "apl": lambda: APL(3, 6), "srelu": lambda: SReLU(6), "acon": lambda: MetaACON(6),
    "polyrelu": PolyReLU, "polynorm": PolyNorm, "dyt": lambda: DyT(6), "derf": lambda: Derf(6),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_copies_and_half_precision(name):
    torch.manual_seed(0)
    layer = MAKERS[name]().double()
    x = data(4, 6, seed=3).requires_grad_()
    names = [n for n, _ in layer.named_parameters()]

    def value(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(value, (x, *layer.parameters()), eps=1e-6, atol=1e-6)
    layer.eval()
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), expected)
    rough = layer.to(torch.bfloat16)(x.detach().to(torch.bfloat16))
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.double(), expected.detach(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gated()(torch.zeros(2, 5)), "halves"),
        (lambda: Gated("swigul"), "unknown activation"),
        (lambda: Maxout(3, 3, 0), "pieces=0"),
        (lambda: APL(0), "hinges=0"),
        (lambda: APL(1, 4)(torch.zeros(2, 3)), "4 channels"),
        (lambda: RReLU(1, 0), "lower=1"),
        (lambda: PolyNorm(0), "order=0"),
        (lambda: MetaACON(4)(torch.zeros(2, 3)), "takes"),
    ],
)
def test_errors(make, message):
    with pytest.raises(NonlinError, match=message):
        make()


def test_units_fit_into_a_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), Gated("geglu"), nn.Linear(6, 3), CReLU(), Maxout(6, 2), SReLU(2))
    before = [p.clone() for p in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(8, 4)).square().sum().backward()
    optimiser.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
