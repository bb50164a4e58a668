"""A base and its correction in one pass of the core, against the same in two by torch's operators, and compiled."""

import copy
import warnings

import pytest
import torch

import nonlin as nl
from nonlin import native
from nonlin.expr import parse
from nonlin.native import adapted, corrections
from nonlin.nn import Adaptive, adaptive_direction, adaptive_schedule, parameter_groups
from nonlin.nn.adaptive_operations import HermiteStep, TableStep
from nonlin.nn.adaptive_pass import HermitePass, TablePass

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not here")
SHAPES = [((5,), None), ((7, 300), None), ((200, 3), 1), ((33, 70), 1), ((2, 5, 9, 9), 1), ((3, 4, 20, 11), 1),
          ((3, 700), 1), ((5, 200), 0), ((0, 4), 1)]  # fmt: skip
BASES = {"x*Phi(x)": torch.nn.functional.gelu, "x*tanh(x)": lambda x: x * torch.tanh(x)}


@pytest.fixture(autouse=True)
def ready():
    corrections.prepare()


def normal(shape, dtype, seed=3):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def numbers(shape, dim, dtype, order=6):
    """rho and Hermite coefficients that broadcast against x, and a table's lines."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    own = () if dim is None else (shape[dim], *[1] * (len(shape) - 1 - dim))
    generator = torch.Generator().manual_seed(4)
    rho = torch.rand(own, generator=generator, dtype=torch.float64).to(wide).requires_grad_()
    coefficients = torch.randn((order, *own), generator=generator, dtype=torch.float64).to(wide).requires_grad_()
    return rho, coefficients, adaptive_direction.segments(torch.sin(3 * adaptive_direction.centres())).to(wide)


def together(mode, x, base, mean, deviation, rho, coefficients, lines, due=False, samples=0):
    flag = torch.tensor(due)
    if mode == "table":
        return TablePass.apply(x, base, rho, lines, mean, deviation, flag, samples)
    return HermitePass.apply(x, base, mean, deviation, coefficients, flag, samples)


def apart(mode, x, base, mean, deviation, rho, coefficients, lines):
    y = BASES[base](x)
    if mode == "hermite":
        return HermiteStep.apply(x, y, mean, deviation, coefficients)
    stretch = 1 / (deviation * adaptive_direction.WIDTH)
    shift = 0.5 - adaptive_direction.LOW / adaptive_direction.WIDTH - mean * stretch
    return TableStep.apply(y, rho, lines * deviation.to(lines.dtype), stretch, shift)


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("mode", ["table", "hermite"])
@pytest.mark.parametrize("base", BASES)
def test_one_pass_equals_two(monkeypatch, every_path, base, mode, dtype, shape, dim):
    if every_path == "torch":
        pytest.skip("compared with it")
    x = normal(shape, dtype)
    rho, coefficients, lines = numbers(shape, dim, dtype)
    # the table's deviation makes a position a power of two times y: rounding moves next to none to another line
    exact = 2.0**-4 / adaptive_direction.WIDTH
    statistics = torch.tensor(0.25), torch.tensor(exact if mode == "table" else 1.4)
    trained, incoming = (rho if mode == "table" else coefficients), normal(shape, dtype, seed=5)
    leaf = x.clone().requires_grad_()
    out, _ = together(mode, leaf, base, *statistics, rho, coefficients, lines)
    assert out.dtype == dtype
    found = [out.detach(), *torch.autograd.grad(out, [leaf, trained], incoming)]
    monkeypatch.setattr(corrections, "fits", lambda *_: False)
    leaf = x.double().requires_grad_()
    out = apart(mode, leaf, base, *statistics, rho.double(), coefficients.double(), lines.double())
    expected = [out.detach(), *torch.autograd.grad(out, [leaf, trained], incoming.double())]
    tolerance = {torch.float64: 1e-7 if mode == "table" else 1e-12, torch.float32: 3e-5}.get(dtype, 0.02)
    for name, mine, theirs in zip(("value", "by x", "by number"), found, expected, strict=True):
        assert mine.shape == theirs.shape
        scale = max(1.0, float(theirs.abs().max())) if theirs.numel() else 1.0
        wrong = (mine.double() - theirs.double()).abs() > tolerance * scale
        allowed = 2e-3 * x.numel() if (mode, name) == ("table", "by x") else 0  # at the corners between lines
        assert int(wrong.sum()) <= allowed, name


@pytest.mark.parametrize("mode", ["table", "hermite"])
@pytest.mark.parametrize("base", BASES)
def test_extreme_inputs(mode, base):
    x = torch.tensor([float("nan"), float("inf"), 1e30, -1e30, -float("inf"), 0.0, 1e-42, -13.0, 13.0])
    rho, coefficients, lines = numbers((9,), None, torch.float32)
    leaf = x.clone().requires_grad_()
    out, _ = together(mode, leaf, base, torch.tensor(0.0), torch.tensor(1.0), rho, coefficients, lines)
    (slope,) = torch.autograd.grad(out.sum(), leaf)
    plain = apart(mode, x, base, torch.tensor(0.0), torch.tensor(1.0), rho, coefficients, lines)
    usual = [0, 2, 3, 5, 6, 7, 8]
    torch.testing.assert_close(out[usual], plain[usual], equal_nan=True)
    assert out[1] == float("inf")
    assert torch.isfinite(slope[[2, 3, 5, 6, 7, 8]]).all()


@pytest.mark.parametrize("count", [5, 8192, 8193, 70_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sample_is_that_of_two_passes(count, dtype):
    x = normal((count,), dtype)
    rho, coefficients, lines = numbers((count,), None, dtype)
    size = min(count, adaptive_schedule.SAMPLE)
    mean, deviation = torch.tensor(0.0), torch.tensor(1.0)
    picked = adaptive_schedule.pick_values(x).float()
    values = adaptive_schedule.pick_values(torch.nn.functional.gelu(x)).float()
    _, sample = together("table", x, "x*Phi(x)", mean, deviation, rho, coefficients, lines, True, size)
    torch.testing.assert_close(sample, values, rtol=1e-6, atol=1e-6)
    _, sample = together("hermite", x, "x*Phi(x)", mean, deviation, rho, coefficients, lines, True, size)
    assert torch.equal(sample[0], picked)
    torch.testing.assert_close(sample[1], values, rtol=1e-6, atol=1e-6)


def test_formulas_that_the_core_takes():
    assert adapted.formula(nl.activation("gelu").expr) == "x*Phi(x)"
    assert adapted.formula(parse("x*sigmoid(a*x)")) == ""  # a parameter
    assert Adaptive("relu")._formula == ""  # torch's derivative at 0 is not ours
    assert Adaptive("prelu")._formula == ""
    assert Adaptive("x*tanh(x)")._formula


def training(mode, per, base="gelu"):
    torch.manual_seed(0)
    own = {"channels": 16} if per == "channel" else {}
    layer = Adaptive(base, mode=mode, per=per, every=6, **own)
    return torch.nn.Sequential(torch.nn.Linear(4, 16), layer, torch.nn.Linear(16, 1))


def steps(model, run, count=15):
    optimizer = torch.optim.SGD(parameter_groups(model, 0.0), lr=0.05)
    x = normal((700, 4), torch.float32)
    for _ in range(count):
        optimizer.zero_grad()
        (run(x) - x[:, :1] * x[:, 1:2]).square().mean().backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("mode", ["entropy", "learned", "entropy-init"])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_compiled_training_is_eager_training(mode, per):
    """The same parameters and statistics, in one graph that is compiled once."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler about itself
        model = training(mode, per)
        other = copy.deepcopy(model)
        graphs = []

        def backend(graph, inputs):
            graphs.append(str([node.target for part in graph.modules() for node in part.graph.nodes]))
            return torch._dynamo.backends.debugging.aot_eager(graph, inputs)

        found = steps(model, torch.compile(model, backend=backend, fullgraph=True))
        expected = steps(other, other)
    torch._dynamo.reset()
    assert len(graphs) == 1
    assert "adapted_" in graphs[0]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=2e-5, msg=f"{name} differs")


@pytest.mark.parametrize("mode", ["entropy", "learned"])
def test_compiled_transforms_have_the_same_gradient(mode):
    torch._dynamo.reset()
    torch.manual_seed(0)
    layer = Adaptive("gelu", mode=mode)
    for _ in range(6):
        layer(normal((500,), torch.float32))
        layer.step()
    layer.eval()
    x = normal((5, 7), torch.float32)

    def gradient(x):
        return torch.func.grad(lambda values: layer(values).square().sum())(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.compile(gradient, backend="aot_eager")(x)
    torch._dynamo.reset()
    torch.testing.assert_close(found, gradient(x))
