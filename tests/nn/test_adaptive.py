"""The adaptive layer: exact invariants, precision, compilation, freezing, what it is told wrongly."""

import copy
import math
import warnings
from itertools import pairwise

import pytest
import torch
from adaptive_layers import BASES, MODES, normal, see, trained
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.nn import Adaptive, adaptive_direction, parameter_groups
from nonlin.nn.adaptive_correction import TableCorrection


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_no_amplitude_is_the_base_bit_for_bit(base, per):
    options = {"channels": 64} if per == "channel" else {}
    layer = see(Adaptive(base, rho=0.0, learn_rho=False, per=per, **options), normal(128, 64))
    assert layer.correction.table.abs().max() > 0.05
    x = 20 * normal(128, 64)
    assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize("rho", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("base", ["relu", "gelu", "identity", "tanh", "sin(3*x)"])
def test_outputs_keep_their_order_and_ties(base, rho):
    layer = see(Adaptive(base, rho=rho, learn_rho=False), normal(8192)).eval().double()
    x = torch.linspace(-8, 8, 5001, dtype=torch.float64)
    before, order = layer.base(x).sort()
    after = layer(x)[order]
    # float32 statistics, so that neighbours may be level up to their rounding
    assert (after.diff() >= -1e-6).all()
    ties = before.diff() == 0
    assert (after.diff()[ties] == 0).all()


def smoothed_entropy(y: torch.Tensor, sigma: float) -> float:
    """H of y + σZ, in nats, by a fine histogram of y convolved with the normal density."""
    grid = torch.linspace(float(y.min()) - 6 * sigma, float(y.max()) + 6 * sigma, 4001, dtype=torch.float64)
    width = float(grid[1] - grid[0])
    counts = torch.histc(y.double(), bins=4001, min=float(grid[0]) - width / 2, max=float(grid[-1]) + width / 2)
    reach = int(6 * sigma / width)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) * width / sigma) ** 2)
    density = nn.functional.conv1d((counts / counts.sum())[None, None], (kernel / kernel.sum())[None, None],
                                   padding=reach)[0, 0] / width  # fmt: skip
    return float(-torch.special.xlogy(density, density.clamp(min=1e-300)).sum() * width)


@pytest.mark.parametrize("base", ["relu", "gelu"])
def test_entropy_falls_along_rho_at_any_scale(base):
    x = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000)
    sample = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))].float()
    layer = see(Adaptive(base, rho=0.0, learn_rho=False), sample)
    h, j = [], []
    for rho in (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0):
        layer.correction.fixed_rho.fill_(rho)
        y = layer.eval()(x)
        sigma = 0.1 * float(layer.base(x).std())
        h.append(smoothed_entropy(y, sigma))
        scale = float(y.std())
        j.append(smoothed_entropy(y, 0.1 * scale) - math.log(scale))
    assert all(later < earlier for earlier, later in pairwise(h))
    assert all(later < earlier for earlier, later in pairwise(j))


@pytest.mark.parametrize("base", BASES)
def test_direction_ignores_shift_and_scale(base):
    correction = see(Adaptive(base), normal(8192)).correction
    c, w = adaptive_direction.centres(), correction.weights
    g = adaptive_direction.scale_free_score(w, 0.2)
    size = float((w * g * g).sum().sqrt())
    assert size > 1e-3
    assert abs(float((w * g).sum())) < 1e-5 * size + 1e-6
    assert abs(float((w * g * c).sum())) < 1e-4 * size


def test_direction_of_a_normal_output_vanishes():
    c = adaptive_direction.centres()
    w = torch.exp(-0.5 * c * c)
    g = adaptive_direction.scale_free_score(w / w.sum(), 0.2)
    assert g[c.abs() < 3].abs().max() < 2e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("base", ["relu", "gelu"])
def test_half_precision_stays_finite(base, mode, dtype):
    layer = see(Adaptive(base, mode=mode), normal(4096))
    x = torch.tensor([-300.0, -12.0, -1.0, 0.0, 1.0, 12.0, 300.0]).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
    half = copy.deepcopy(layer).to(dtype)
    assert all(b.dtype in (torch.float32, torch.int64, torch.bool) for b in half.buffers())
    see(half, (normal(4096) * 100).to(dtype))
    assert all(torch.isfinite(b).all() for b in half.buffers())


@pytest.mark.parametrize("mode", MODES)
def test_not_a_number_and_infinity_pass_through(mode):
    layer = see(Adaptive("relu", mode=mode), normal(4096)).eval()
    y = layer(torch.tensor([math.nan, math.inf, 1e30, -1e30])).detach()
    assert torch.isnan(y[0])
    assert y[1] == math.inf
    assert torch.isfinite(y[2:]).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("base", ["gelu", "prelu"])
def test_gradients(mode, per, base):
    options = {"channels": 3} if per == "channel" else {}
    layer = see(Adaptive(base, mode=mode, per=per, **options), normal(1024, 3)).double().eval()
    x = torch.tensor([[0.71, -1.33, 2.12], [1.94, 0.37, -0.43], [9.0, -9.0, 0.11]], dtype=torch.float64)
    x.requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), x)

    inputs = (x, *layer.parameters())
    assert torch.autograd.gradcheck(run, inputs, eps=1e-6, atol=1e-5)
    assert torch.autograd.gradgradcheck(run, inputs, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_vmap(mode):
    layer = see(Adaptive("gelu", mode=mode), normal(4096)).eval()
    x = normal(5, 7)
    assert torch.allclose(torch.func.vmap(layer)(x), layer(x), atol=1e-6)


def test_little_is_kept_for_backward():
    for mode, floats in (("entropy", 1), ("learned", 1)):
        layer, kept = see(Adaptive("relu", mode=mode), normal(4096)), {}
        x = normal(1000).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t}) or t, lambda t: t):  # noqa: B023
            layer(x)
        large = [t for t in kept.values() if t.numel() == 1000]
        # relu itself keeps its output, which the table shares
        assert sum(t.dtype == torch.float32 for t in large) == floats + (mode == "learned")
        assert all(t.dtype in (torch.float32, torch.uint8) for t in large)


@pytest.mark.parametrize("mode", MODES)
def test_compiles_without_a_break_and_still_adapts(mode):
    torch._dynamo.reset()
    model, optimizer, _ = trained(mode, steps=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler about itself
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        x = normal(256, 4)
        for _ in range(6):
            optimizer.zero_grad()
            compiled(x).square().mean().backward()
            optimizer.step()
        assert int(model[1].correction.steps) == 6
        assert int(model[1].correction.updates) > 0
        model.eval()
        assert torch.allclose(compiled(x), model(x), atol=1e-6)
    torch._dynamo.reset()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("base", ["relu", "gelu", "prelu"])
def test_frozen_formula_equals_the_layer(mode, base):
    model, _, _ = trained(mode, base, steps=60)
    layer = model[1]
    act = layer.freeze()
    assert not act.parameters
    assert nl.activation(act.formula).formula == act.formula
    assert layer.training
    error = layer.frozen_error(act)
    deviation = float(layer.correction.deviation)
    assert error < (0.0021 * deviation if mode == "entropy" else 1e-5)
    x = 3 * normal(5000, seed=3)
    assert (layer.eval()(x) - act(x)).abs().max() <= error + 1e-6
    if mode == "entropy":
        finer = layer.freeze(tolerance=1e-5)
        assert layer.frozen_error(finer) < 1e-4 * deviation
        assert len(finer.formula) > len(act.formula)


@pytest.mark.parametrize(("shape", "dim"), [((8, 3), 1), ((8, 3, 5), 1), ((8, 5, 3), -1), ((3, 8), 0), ((3, 8), -2)])
@pytest.mark.parametrize("mode", MODES)
def test_channels(mode, shape, dim):
    layer = see(Adaptive("gelu", mode=mode, per="channel", channels=3, dim=dim), normal(*shape))
    with torch.no_grad():
        for number, parameter in enumerate(layer.correction.parameters()):
            parameter.add_(0.3 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(number)))
    x = normal(*shape, seed=1)
    y = layer.eval()(x)
    assert y.shape == x.shape
    for channel in range(3):
        act = layer.freeze(channel=channel)
        assert layer.frozen_error(act, channel) < 0.01
        assert torch.allclose(y.select(dim, channel), act(x.select(dim, channel)), atol=0.01)
    with pytest.raises(NonlinError, match=r"freeze\(channel=0\)"):
        layer.freeze()


def test_two_hermite_terms_are_crrelu():
    layer = Adaptive("relu", order=2, mode="learned", coefficients=(0.0, 0.07), standardise=False)
    see(layer, normal(100))
    x = torch.linspace(-6, 6, 1001)
    assert torch.allclose(
        layer(x), nl.activation("crrelu")(x, **{nl.activation("crrelu").initial[0][0]: 0.07}), atol=1e-6
    )


def test_entropy_sets_the_coefficients_once():
    layer = Adaptive("gelu", mode="entropy-init", rho=0.5)
    assert not layer.correction.coefficients.any()
    see(layer, normal(8192), steps=1)
    first = layer.correction.coefficients.detach().clone()
    assert first.abs().max() > 0.01
    see(layer, 3 * normal(8192), steps=60)
    assert torch.equal(layer.correction.coefficients, first)
    # it is a direction of lower entropy, as the table is
    table = see(Adaptive("gelu", rho=0.5, learn_rho=False), normal(8192)).eval()
    x = normal(8192, seed=5)
    ours, theirs = ((f(x) - f.base(x)).detach() for f in (layer.eval(), table))
    layer.correction.mean.zero_()
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.3


def test_weight_decay_spares_shapes():
    model = nn.Sequential(
        nn.Linear(3, 4), Adaptive("prelu"), nn.Linear(4, 4), Adaptive("relu", mode="learned"), nl.nn.KANLinear(4, 2)
    )
    weights, shapes = parameter_groups(model, 0.1)
    assert (weights["weight_decay"], shapes["weight_decay"]) == (0.1, 0.0)
    own = {id(p) for p in shapes["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in own}
    assert names == {"1.base.a", "1.correction.theta", "3.correction.coefficients"}
    assert len(weights["params"]) + len(shapes["params"]) == len(list(model.parameters()))
    assert len(parameter_groups(nn.Linear(2, 2), 0.1)) == 1


def test_a_table_of_ones_own():
    correction = see(Adaptive("identity", rho=1.0, learn_rho=False), normal(4096)).correction
    assert isinstance(correction, TableCorrection)
    values = torch.sin(adaptive_direction.centres())
    correction.set_table(values)
    assert torch.allclose(correction.table, values, atol=1e-5)
    with pytest.raises(NonlinError, match="128 finite numbers"):
        correction.set_table(torch.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "entropic"}, "'entropy', 'learned', 'entropy-init'"),
        ({"per": "layer"}, "'tensor' or 'channel'"),
        ({"per": "channel"}, "channels=None"),
        ({"channels": 8}, "channels=8 belong to per='channel'"),
        ({"order": 0}, "from 1 to 12"),
        ({"rho": 1.0}, "inside if it is trained"),
        ({"rho": math.nan}, "rho=nan"),
        ({"kappa": 0.01}, "at least 0.1"),
        ({"every": 0}, "every=0"),
        ({"momentum": 0.0}, "momentum=0.0"),
        ({"rho": "a"}, "rho='a' must be a number"),
        ({"kappa": None}, "kappa=None must be a number"),
        ({"coefficients": (1.0,)}, "only in mode 'learned'"),
        ({"mode": "learned", "coefficients": (1.0,)}, "order=6 needs as many"),
    ],
)
def test_wrong_options_say_what_to_do(options, message):
    with pytest.raises(NonlinError, match=message):
        Adaptive("relu", **options)


def test_wrong_channels_say_what_to_do():
    with pytest.raises(NonlinError, match=r"5 channels along dimension 1.*\(2, 4\)"):
        Adaptive("relu", per="channel", channels=5)(torch.randn(2, 4))
    with pytest.raises(NonlinError, match="one function for all channels"):
        Adaptive("relu").freeze(channel=1)


def test_repr():
    assert "base='gelu', mode='entropy'" in repr(Adaptive("gelu"))
