"""The adaptive layers' corrections and the modules' eager path in the core, against the same in torch's operators."""

import warnings

import pytest
import torch

import nonlin as nl
from nonlin import native
from nonlin.native import corrections, direct
from nonlin.nn import adaptive_direction
from nonlin.nn.adaptive_operations import REACH, HermiteStep, TableStep

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not here")
SHAPES = [((), None), ((0,), None), ((5,), None), ((7, 300), None), ((200, 3), 1), ((33, 70), 1), ((2, 5, 9, 9), 1),
          ((3, 4, 20, 11), 1), ((6, 1), 1), ((5, 200), 0)]  # fmt: skip


@pytest.fixture(autouse=True)
def ready():
    corrections.prepare()


def arguments(shape, dim, dtype, order=6):
    generator = torch.Generator().manual_seed(3)
    y, x, gradient = (2 * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    own = () if dim is None else (shape[dim], *[1] * (len(shape) - 1 - dim))
    rho = torch.rand(own, generator=generator, dtype=torch.float64).to(wide)
    coefficients = torch.randn((order, *own), generator=generator, dtype=torch.float64).to(wide)
    lines = adaptive_direction.segments(torch.sin(3 * adaptive_direction.centres())).to(wide)
    return x, y, gradient, rho, coefficients, lines


def run(operation, inputs, gradient):
    """Value and gradients of the inputs that need them."""
    out = operation(*inputs)
    wanted = [one for one in inputs if isinstance(one, torch.Tensor) and one.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, wanted, gradient)]


def without(monkeypatch):
    """torch's operators for what comes."""
    monkeypatch.setattr(corrections, "fits", lambda *_: False)
    monkeypatch.setattr(direct, "fits", lambda *_: False)


def close(found, expected, dtype):
    tolerance = {torch.float64: 1e-12, torch.float32: 3e-5}.get(dtype, 0.02)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        scale = max(1.0, float(b.abs().max())) if b.numel() else 1.0
        torch.testing.assert_close(a.double() / scale, b.double() / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("shape", "dim"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 3])
def test_corrections_equal_torch(monkeypatch, shape, dim, dtype, threads):
    x, y, gradient, rho, coefficients, lines = arguments(shape, dim, dtype)
    # stretch and shift are powers of two: no rounding can move an element to another segment
    table = (y.requires_grad_(), rho.requires_grad_(), lines, torch.tensor(16.0), torch.tensor(64.0))
    mean, deviation = torch.tensor(0.3), torch.tensor(1.4)
    hermite = (x.requires_grad_(), y, mean, deviation, coefficients.requires_grad_())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert corrections.fits(y, rho)
    found = run(TableStep.apply, table, gradient), run(HermiteStep.apply, hermite, gradient)
    torch.set_num_threads(before)
    without(monkeypatch)
    for mine, operation, inputs in zip(found, (TableStep, HermiteStep), (table, hermite), strict=True):
        close(mine, run(operation.apply, inputs, gradient), dtype)


@pytest.mark.parametrize("order", [1, 2, 12])
def test_every_order(every_path, monkeypatch, order):
    if every_path == "torch":
        pytest.skip("compared with it")
    x, y, gradient, _, coefficients, _ = arguments((70, 33), 1, torch.float32, order)
    inputs = (10 * x).requires_grad_(), y, torch.tensor(0.3), torch.tensor(1.4), coefficients.requires_grad_()
    found = run(HermiteStep.apply, inputs, gradient)
    without(monkeypatch)
    close(found, run(HermiteStep.apply, inputs, gradient), torch.float32)


def test_extreme_inputs():
    y = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e38, -1e38, 0.0, 1e-42])
    lines = adaptive_direction.segments(torch.ones(adaptive_direction.BINS))
    out = corrections.table_step(y, torch.tensor(0.5), lines, torch.tensor(16.0), torch.tensor(64.0))
    torch.testing.assert_close(out, y + 0.5, equal_nan=True)
    zeros = torch.zeros_like(y)
    out = corrections.hermite_step(y, zeros, torch.tensor(0.0), torch.tensor(1.0), torch.ones(1), REACH)
    end = torch.exp(torch.tensor(-0.5 * REACH * REACH))
    torch.testing.assert_close(out, torch.tensor([float("nan"), end, end, end, end, 1.0, 1.0]), equal_nan=True)


def test_the_core_keeps_out_where_it_would_be_wrong():
    x = torch.randn(4, 4)
    assert corrections.plain(x)
    assert not corrections.plain(x.t()[:, :2])
    assert not corrections.plain(x.to_sparse())
    assert not corrections.plain(x.int())
    seen = []
    torch.func.vmap(lambda row: seen.append(corrections.plain(row)) or row)(x)
    assert seen == [False]
    trace = torch.fx.experimental.proxy_tensor.make_fx(nl.activation("swish").module())(x)
    assert any(node.op == "call_function" for node in trace.graph.nodes)  # not a number computed once
    assert not corrections.fits(x, torch.zeros(4, 1, 1))
    assert not corrections.fits(x, torch.zeros(3))
    assert direct.layout(x, [torch.zeros(4, 1), torch.zeros(1, 4)]) is None
    assert direct.layout(x, [torch.zeros(4, 1), torch.zeros(())]) == (4, 4)


@pytest.mark.parametrize("spec", ["relu", "gelu", "mish", "swish", "pelu", "x*sigmoid(beta*x) + gamma*sin(x)"])
@pytest.mark.parametrize(("shape", "dim"), [((5,), None), ((0, 3), None), ((64, 48), 1), ((2, 5, 9, 3), 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_modules_equal_torch(monkeypatch, spec, shape, dim, dtype):
    options = {} if dim is None else {"per": "channel", "channels": shape[dim], "dim": dim}
    module = nl.activation(spec).module(**options)
    x, _, gradient, *_ = arguments(shape, None, dtype)
    inputs = (x.requires_grad_(), *module.parameters())
    found = run(lambda x, *_: module(x), inputs, gradient)
    without(monkeypatch)
    close(found, run(lambda x, *_: module(x), inputs, gradient), dtype)


@pytest.fixture
def fresh_compiler():
    """An empty `torch.compile`, without its warnings about itself."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("spec", ["gelu", "swish"])
def test_modules_compile_in_one_graph(spec, per):
    module = nl.activation(spec).module(per=per, channels=3)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    x = torch.randn(6, 3, requires_grad=True)
    inputs = (x, *module.parameters())
    close(
        run(lambda x, *_: compiled(x), inputs, torch.ones(6, 3)),
        run(lambda x, *_: module(x), inputs, torch.ones(6, 3)),
        torch.float32,
    )


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("mode", ["entropy", "learned"])
def test_adaptive_layers_compile_to_the_cores_operators(mode):
    torch.manual_seed(0)
    layer = nl.nn.Adaptive("gelu", mode=mode, per="channel", channels=3).train()
    for _ in range(5):
        layer(torch.randn(300, 3))
        layer.step()
    layer.eval()
    targets = []

    def backend(graph, _):
        targets.extend(str(node.target) for part in graph.modules() for node in part.graph.nodes)
        return graph

    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    x = torch.randn(6, 3, requires_grad=True)
    inputs = (x, *layer.parameters())
    found = run(lambda x, *_: compiled(x), inputs, torch.ones(6, 3))
    close(found, run(lambda x, *_: layer(x), inputs, torch.ones(6, 3)), torch.float32)
    assert any("table_step" in name or "hermite_step" in name for name in targets)
    graph = torch.export.export(layer, (x.detach(),)).graph_module.code
    assert "nonlin" not in graph  # what is exported runs without this library
