"""Each property of an activation's module, for every function of the catalogue at once, with the core and without.

The truth is float64 by the torch kernel of the expression and torch's own automatic differentiation; that kernel is
held to mpmath in tests/zoo/test_catalogue.py.
"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import nonlin as nl
from nonlin.native.module import _evaluate

NAMES = nl.zoo.names()
# Points away from kinks (multiples of 0.1 and 0.25), where one-sided derivatives differ, and large ones.
ORDINARY = torch.tensor(
    [-7.03, -3.17, -2.33, -1.41, -0.87, -0.613, -0.157, 0.043, 0.337, 0.713, 1.19, 2.27, 3.41, 5.63]
)
HUGE = torch.tensor([-1e30, -3e4, -311.3, 311.3, 3e4, 1e30, float("inf"), -float("inf"), float("nan")])
# How far float32 may be off, relative to the value or its largest neighbour: most is cancellation in the formula.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-4, torch.bfloat16: 2e-2}


def modules(dtype: torch.dtype = torch.float32) -> dict[str, torch.nn.Module]:
    return {name: nl.activation(name).module().to(dtype) for name in NAMES}


def values(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """By torch's operators in float64."""
    return _evaluate(module._program.value(), x.double(), tuple(p.detach().double() for p in module.parameters()))[0]


def slopes(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    parameters = tuple(p.detach().double() for p in module.parameters())
    return _evaluate(module._program.gradient(0), x.double(), parameters)[0]


def far(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype) -> bool:
    size = want.abs().clamp(min=1.0)
    return not bool(((got.double() - want).abs() <= TOLERANCE[dtype] * size).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_values_and_gradients(dtype, path):
    wrong = []
    for name, module in modules().items():
        x = ORDINARY.clone().to(dtype).requires_grad_()
        y = module(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert y.dtype == slope.dtype == dtype
        if far(y, values(module, x.detach()), dtype) or far(slope, slopes(module, x.detach()), dtype):
            wrong.append(name)
    assert not wrong


def test_memory_layouts_give_the_same_numbers(path):
    """Transposed, strided, expanded and channels-last inputs and gradients; empty and 0-d ones."""
    base = torch.linspace(-3.03, 3.11, 96)
    layouts = [
        base.reshape(8, 12).t(), base.reshape(8, 12)[:, ::3], base[:1].expand(4, 3), base[5], base[:0].reshape(0, 3),
        base.reshape(2, 3, 4, 4).to(memory_format=torch.channels_last), base.reshape(4, 24)[:, 3:11].t(),
    ]  # fmt: skip
    wrong = []
    for name, module in modules().items():
        for x in layouts:
            dense = x.clone(memory_format=torch.contiguous_format)
            gradient = torch.ones(()).expand(x.shape)
            results = []
            for one in (x.detach().requires_grad_(), dense.requires_grad_()):
                y = module(one)
                results.append((y, *torch.autograd.grad(y, [one, *module.parameters()], gradient)))
            if any(a.shape != b.shape or not torch.allclose(a, b, 1e-5, 1e-5) for a, b in zip(*results, strict=True)):
                wrong.append((name, tuple(x.shape), x.stride()))
    assert not wrong


def test_huge_inputs(path):
    """Finite or infinite as in float64; no NaN but where float64 has one, and NaN passes."""
    wrong = []
    for name, module in modules().items():
        x = HUGE.clone().requires_grad_()
        y = module(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        want, want_slope = values(module, HUGE), slopes(module, HUGE)
        assert bool(y[-1].isnan()), name
        assert bool(slope[-1].isnan()) or not bool(want_slope[-1].isnan()), name
        moderate = slice(1, 5)  # ±1e30 squared is beyond float32
        if bool((y.isnan() & ~want.isnan())[moderate].any() | (slope.isnan() & ~want_slope.isnan())[moderate].any()):
            wrong.append(name)
    assert not wrong


def test_no_gradient_wanted(path):
    for module in modules().values():
        with torch.no_grad():
            plain = module(ORDINARY)
        with torch.inference_mode():
            assert torch.equal(module(ORDINARY), plain)
        assert not plain.requires_grad
        module.requires_grad_(False)
        assert not module(ORDINARY).requires_grad
        assert torch.equal(module(ORDINARY.clone().requires_grad_()).detach(), plain)


def test_parameters_that_are_not_trained(path):
    """The gradient by x is the same, and the parameters get none; with one of several trained, it has its own."""
    wrong = []
    for name, module in modules().items():
        x = ORDINARY.clone().requires_grad_()
        parameters = list(module.parameters())
        by_x, *others = torch.autograd.grad(module(x).sum(), [x, *parameters])
        for trained in {0, len(parameters) // 2, len(parameters)}:
            for place, parameter in enumerate(parameters):
                parameter.requires_grad_(place < trained)
            again = torch.autograd.grad(module(x).sum(), [x, *parameters[:trained]])
            pairs = zip(again, (by_x, *others[:trained]), strict=True)
            if not all(torch.allclose(got, want, 1e-6, 1e-6, equal_nan=True) for got, want in pairs):
                wrong.append((name, trained))
    assert not wrong


def test_second_derivatives(path):
    """Against central differences of the first, in float64."""
    wrong, step = [], 1e-6
    for name, module in modules(torch.float64).items():
        x = ORDINARY.to(torch.float64).requires_grad_()
        (slope,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
        second = torch.zeros_like(x)
        if slope.requires_grad:
            (second,) = torch.autograd.grad(slope.sum(), x)
        difference = (slopes(module, x.detach() + step) - slopes(module, x.detach() - step)) / (2 * step)
        if not torch.allclose(second, difference, 1e-5, 1e-5):
            wrong.append(name)
    assert not wrong


def test_transforms(path):
    """torch.func: vmap, grad, jvp and vmap of grad agree with the ordinary gradient."""
    wrong, x = [], ORDINARY.double().reshape(2, 7)
    for name, module in modules(torch.float64).items():
        want = slopes(module, x)
        rows = torch.func.vmap(module)(x)
        by_row = torch.func.vmap(torch.func.grad(lambda row, module=module: module(row).sum()))(x)
        _, forward = torch.func.jvp(module, (x,), (torch.ones_like(x),))
        found = ((rows, values(module, x)), (by_row, want), (forward, want))
        if not all(torch.allclose(got, true, 1e-9, 1e-9) for got, true in found):
            wrong.append(name)
    assert not wrong


def test_copies_and_states(path):
    for name, module in modules().items():
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.25)
        want = module(ORDINARY)
        fresh = nl.activation(name).module()
        fresh.load_state_dict(module.state_dict())
        for again in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module), fresh):
            assert torch.equal(again(ORDINARY), want), name


def test_autocast(path):
    """A half-precision tensor within autocast keeps its dtype; so does a float32 one."""
    for name, module in modules().items():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert module(ORDINARY.bfloat16()).dtype == torch.bfloat16, name
            assert torch.equal(module(ORDINARY), module(ORDINARY)), name
            assert module(ORDINARY).dtype == torch.float32, name


def test_x_alone_is_kept(path):
    for name, module in modules().items():
        kept: list[torch.Tensor] = []
        x = torch.randn(64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t) or t, lambda t: t):
            module(x)
        assert sum(t.numel() for t in kept if t.numel() > 1) == 64, name


def test_threads_change_nothing(path):
    x = torch.linspace(-4, 4, 200_001)
    before = torch.get_num_threads()
    try:
        for name in ("gelu", "swish", "mish", "pau"):
            module, results = nl.activation(name).module(), []
            for threads in (1, 3):
                torch.set_num_threads(threads)
                leaf = x.clone().requires_grad_()
                y = module(leaf)
                results.append((y, *torch.autograd.grad(y.sum(), [leaf, *module.parameters()])))
            for one, other in zip(*results, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=0.05)  # sums of 200,000
    finally:
        torch.set_num_threads(before)


def test_dense_layouts_go_through_the_core(path):
    """Not by way of a copy: the result has x's strides."""
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert nl.activation("gelu").module()(x).stride() == x.stride()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's, of its own tracing
@pytest.mark.parametrize("gradients", [False, True], ids=["inference", "training"])
def test_compiled_without_a_break(gradients):
    """Some in one graph; of all, it would take minutes."""
    torch._dynamo.reset()
    everything = torch.nn.ModuleList(list(modules().values())[::12])

    def run(x):
        return torch.stack([module(x) for module in everything])

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    x = ORDINARY.clone().requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        got, want = compiled(x), run(x)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    if gradients:
        slopes = [torch.autograd.grad(y.sum(), x)[0] for y in (got, want)]
        torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-4)


def test_exported():
    """Several in one graph of torch's own operators."""

    class All(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.each = torch.nn.ModuleList(list(modules().values())[::6])

        def forward(self, x):
            return torch.stack([module(x) for module in self.each])

    model = All().eval()
    program = torch.export.export(model, (ORDINARY,))
    torch.testing.assert_close(program.module()(ORDINARY), model(ORDINARY), rtol=1e-4, atol=1e-5)


def test_compiled_normal_distribution():
    """What a compiled graph has for Phi in float32, against float64."""
    torch._dynamo.reset()
    act = nl.activation("Phi(x)").module()
    x = torch.linspace(-12, 9, 20_001)
    got = torch.compile(act, backend="eager", fullgraph=True)(x).double()
    want = 0.5 * torch.special.erfc(x.double() * -(0.5**0.5))
    error = (got - want).abs() / want
    assert error[x.abs() < 3].max() < 1e-6
    assert error.max() < 1e-5
