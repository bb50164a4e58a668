"""Triton's kernel against float64: by its interpreter on a CPU, compiled where there is a GPU.

The truth is float64 by the torch kernels of the expressions, which are held to mpmath elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import nonlin as nl
from nonlin.expr import parse
from nonlin.expr.codegen import compile_kernel
from nonlin.expr.operators import OPERATORS
from nonlin.native import direct, stacked_activation, triton_activation
from nonlin.native.program import Function, emitted_opcodes, function
from nonlin.native.stacked_activation import Activations, sort_key

pytest.importorskip("triton", minversion="3.4")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PARAMETERS = {"alpha": 0.8, "beta": 1.3}
# 301 numbers without kinks or ties among them: no multiple of a tile
ORDINARY = torch.linspace(-4.013, 4.117, 301)
# Where an operator's argument must lie, and how it stands in a formula if not as name(x).
DOMAINS = {
    "log": "log(abs(x) + 0.01)", "log1p": "log1p(abs(x))", "sqrt": "sqrt(abs(x) + 0.01)", "asin": "asin(x/5)",
    "acos": "acos(x/5)", "acosh": "acosh(abs(x) + 1.5)", "atanh": "atanh(x/5)", "pow": "(abs(x) + 0.1)**beta + x**3",
    "div": "x/(beta + x*x) + alpha/(9 + x)", "where": "where(x > 0, beta*x, alpha)", "clip": "clip(x, -alpha, beta)",
    "heaviside": "heaviside(x, 0.5)*beta*x", "max": "max(beta*x, -alpha)", "min": "min(beta*x, x*x)",
    "spherical_j": "spherical_j(1, x) + spherical_j(3, beta*x)", "tan": "tan(x/4)", "pi": "pi*x",
    "mul0": "mul0(x, beta)", "neg": "-(beta*x)", "lt": "(x < beta)*x", "le": "(x <= beta)*x", "gt": "(x > beta)*x",
    "ge": "(x >= beta)*x", "add": "beta + x", "sub": "x - beta*alpha", "mul": "beta*x",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Loaded for the interpreter where there is no GPU: Triton asks the environment when a kernel is defined."""
    before = os.environ.get("TRITON_INTERPRET")
    if DEVICE.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    try:
        from nonlin.native import triton_kernel
    finally:
        os.environ.pop("TRITON_INTERPRET", None)
        if before is not None:
            os.environ["TRITON_INTERPRET"] = before
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:  # the interpreter is NumPy
        if DEVICE.type == "cpu":
            from triton.language import standard

            # of all sums, the interpreter makes those of Triton's own function by NumPy
            patch.setattr(triton_kernel, "plus", getattr(standard, "_sum_combine", triton_kernel.plus))
        yield triton_kernel


@pytest.fixture
def everywhere(monkeypatch):
    """What decides by the device takes the interpreter's for a GPU."""
    for module in (triton_activation, stacked_activation):
        monkeypatch.setattr(module, "usable", lambda x: x.dtype in triton_activation.DTYPES)


def formula(name: str) -> str:
    return DOMAINS.get(name, f"{name}(beta*x)")


def made(text: str) -> Function:
    if text.startswith("mul0"):
        from nonlin.expr import Symbol
        from nonlin.expr.tree import call

        return function(call("mul0", Symbol("x"), Symbol("beta")))
    return function(parse(text))


def stacked(functions: list[Function], x: torch.Tensor, per: int = 1):
    """(launch, values (K, P, per)): the named parameters, a little different from channel to channel."""
    most = max(len(one.parameters) for one in functions)
    values = torch.ones(len(functions), most, per)
    for row, one in zip(values, functions, strict=True):
        for line, name in zip(row, one.parameters, strict=False):
            line.copy_(PARAMETERS[name] + 0.05 * torch.arange(per))
    return triton_activation.Stacked(functions, DEVICE), values.to(DEVICE)


def truth(one: Function, x: torch.Tensor, values: torch.Tensor, gradient: torch.Tensor, inner: int):
    """Value, gradient by x and sums by the parameters, in float64. x : (...), values : (P, channels or 1)."""
    rows = x.double().cpu().reshape(-1, values.shape[-1], inner if values.shape[-1] > 1 else x.numel())
    own = [value.double().cpu().reshape(-1, 1) for value in values[: len(one.parameters)]]
    value, *partials = compile_kernel((one.expr, *one.partial_expressions), one.parameters)(rows, *own)
    by_x, *others = (torch.broadcast_to(part, rows.shape) * gradient.double().cpu().view_as(rows) for part in partials)
    return value.reshape(x.shape), by_x.reshape(x.shape), [part.sum(dim=(0, 2)) for part in others]


def check(functions: list[Function], x: torch.Tensor, per: int = 1, inner: int = 1, tolerance: float = 3e-6) -> None:
    """All of them at once; `tolerance` is relative to a number, or to 1 where it is smaller. x : (K, ...)"""
    launch, values = stacked(functions, x, per)
    gradient = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype).to(DEVICE)
    there = x.to(DEVICE)
    y = launch.forward(there, values, inner)
    by_x, by_values = launch.backward(gradient, there, values, inner)
    assert y.dtype == by_x.dtype == x.dtype
    wrong = []
    for k, one in enumerate(functions):
        value, slope, sums = truth(one, x[k], values[k], gradient[k], inner)
        pairs = [(y[k], value, 1.0), (by_x[k], slope, 1.0)]
        pairs += [(got, want, x[k].numel() ** 0.5) for got, want in zip(by_values[k], sums, strict=False)]
        for number, (got, want, size) in enumerate(pairs):
            far = (got.double().cpu() - want).abs() / want.abs().clamp(min=size)
            if not bool((far <= tolerance).all()):
                wrong.append((str(one.expr), number, float(far.max())))
        if bool(by_values[k, len(sums) :].count_nonzero()):
            wrong.append((str(one.expr), "a parameter that it has not", 0.0))
    assert not wrong


def test_every_instruction_has_a_case(kernel):
    """The kernel's are those that programs are made of, and every operator's program can be written in them."""
    assert set(kernel.OPCODES) == emitted_opcodes(pairs=False)
    assert len(set(kernel.OPCODES)) == len(kernel.OPCODES)
    assert all(triton_activation.supported(made(formula(name))) for name in OPERATORS)


def test_every_case_is_performed(kernel):
    """The formulas of the test below have every instruction, so that none is left out of a branch there."""
    met = set()
    for name in OPERATORS:
        one = made(formula(name))
        for outputs in ((one.expr,), one.partial_expressions):
            met |= {kernel.OPCODES[row[0]] for row in triton_activation._encode(outputs, one.parameters).code}
    assert met == set(kernel.OPCODES)


def test_every_operator_in_one_launch():
    functions = [made(formula(name)) for name in OPERATORS]
    check(functions, ORDINARY.repeat(len(functions), 1), tolerance=2e-5)


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "sigmoid", "softplus", "tanh", "sech", "sin", "cos",
                                  "tan", "asin", "acos", "atan", "sinc", "sinh", "cosh", "asinh", "acosh", "atanh",
                                  "erf", "erfc", "Phi", "phi"])  # fmt: skip
def test_units_in_the_last_place(name):
    """At most 4, as the compiled core has it."""
    low, high = {"exp": (-87, 88), "expm1": (-20, 88), "log": (1e-6, 1e6), "log1p": (-0.999, 1e4), "tan": (-90, 90),
                 "sin": (-1e3, 1e3), "cos": (-1e3, 1e3), "asin": (-1, 1), "acos": (-1, 1), "acosh": (1, 1e6),
                 "atanh": (-0.999, 0.999), "asinh": (-1e6, 1e6), "atan": (-1e3, 1e3), "tanh": (-12, 12),
                 "erf": (-5, 5), "erfc": (-5, 9), "Phi": (-12, 8), "phi": (-12, 12)}.get(name, (-80, 80))  # fmt: skip
    small = torch.logspace(-6, float(np.log10(min(1.0, high))), 200)
    x = torch.cat([torch.linspace(low, high, 1100), small, -small]).float()
    x = x[(x >= low) & (x <= high)]
    one = function(parse(f"{name}(x)"))
    launch, values = stacked([one], x)
    got = launch.forward(x[None].to(DEVICE), values, 1)[0].cpu()
    want = compile_kernel((one.expr,), ())(x.double())[0]
    spacing = torch.from_numpy(np.spacing(want.abs().float().numpy())).double()
    assert float(((got.double() - want).abs() / spacing).max()) <= 4


def test_random_programs(random_trees):
    """At once. Where float32 itself is far off, by way of torch's operators in float32, nothing is said."""
    functions = [one for one in map(function, random_trees(40, seed=3)) if triton_activation.supported(one)]
    assert len(functions) > 30
    launch, values = stacked(functions, ORDINARY)
    points = ORDINARY[::3]
    x = points.repeat(len(functions), 1).to(DEVICE)
    y, gradient = launch.forward(x, values, 1), torch.ones_like(x)
    by_x, _ = launch.backward(gradient, x, values, 1)
    compared = 0
    for k, one in enumerate(functions):
        for got, outputs in ((y[k], (one.expr,)), (by_x[k], one.partial_expressions[:1])):
            own = [torch.tensor(PARAMETERS[name]) for name in one.parameters]
            rough = compile_kernel(outputs, one.parameters)(points, *own)[0].double()
            want = compile_kernel(outputs, one.parameters)(points.double(), *(v.double() for v in own))[0]
            size = want.abs().clamp(min=1.0)
            well = want.isfinite() & ((rough - want).abs() <= 1e-5 * size) & (want.abs() < 1e30)
            error = ((got.double().cpu() - want).abs() / size)[torch.broadcast_to(well, got.shape)]
            compared += error.numel()
            assert bool((error <= 1e-3).all()), one.expr
            assert int((error > 1e-4).sum()) <= 0.02 * len(points), one.expr
    assert compared > 0.6 * 2 * len(functions) * len(points)


@pytest.mark.parametrize("count", [0, 1, 127, 512, 1025])
def test_any_size(count):
    functions = [function(parse(text)) for text in ("relu(x)", "x*sigmoid(beta*x)", "alpha*x + beta*tanh(x)")]
    x = torch.linspace(-3, 3, 3 * count).reshape(3, count)
    if count:
        check(functions, x)
        return
    launch, values = stacked(functions, x)
    assert launch.forward(x.to(DEVICE), values, 1).shape == (3, 0)
    by_x, by_values = launch.backward(x.to(DEVICE), x.to(DEVICE), values, 1)
    assert by_x.shape == (3, 0)
    assert not by_values.count_nonzero()


@pytest.mark.parametrize("shape", [(37, 5), (1, 70), (9, 3, 4, 4), (2, 6, 11, 7), (3, 2)], ids=str)
def test_parameters_per_channel(shape):
    """Along dimension 1: features, and images of which one channel is less or more than a tile."""
    functions = [function(parse(text)) for text in ("tanh(x)", "x*sigmoid(beta*x)", "alpha*x + beta*tanh(x)")]
    x = torch.linspace(-3, 3, 3 * int(np.prod(shape))).reshape(3, *shape)
    check(functions, x, per=shape[1], inner=int(np.prod(shape[2:])))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_rounded_once(dtype):
    functions = [function(parse(text)) for text in ("x*sigmoid(beta*x)", "x*Phi(x)")]
    x = ORDINARY.to(dtype).repeat(2, 1)
    launch, values = stacked(functions, x)
    got = launch.forward(x.to(DEVICE), values, 1).cpu()
    exact = launch.forward(x.float().to(DEVICE), values, 1).cpu()
    if dtype == torch.bfloat16 and DEVICE.type == "cpu":  # the interpreter cuts digits off, where a GPU rounds
        assert bool(((got.float() - exact).abs() <= 2**-7 * exact.abs()).all())
    else:
        assert torch.equal(got, exact.to(dtype))
    check(functions, x, tolerance=2e-2)


def test_what_is_not_finite(chosen):
    """NaN passes; infinite, huge and tiny numbers give NaN only where torch's float32 gives one."""
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-40, -1e-40, 300.0, -300.0, 1e4, -1e4])
    functions = [function(parse(text)) for text in chosen]
    launch, values = stacked(functions, x)
    rows = x.repeat(len(functions), 1).to(DEVICE)
    y = launch.forward(rows, values, 1).cpu()
    by_x = launch.backward(torch.ones_like(rows), rows, values, 1)[0].cpu()
    assert bool(y[:, 0].isnan().all())
    assert bool(by_x[:, 0].isnan().all())
    wrong = []
    for one, value, slope in zip(functions, y, by_x, strict=True):
        own = [torch.tensor(PARAMETERS[name]) for name in one.parameters]
        wants = compile_kernel((one.expr, one.partial_expressions[0]), one.parameters)(x, *own)
        for got, want in zip((value, slope), wants, strict=True):
            same = torch.isclose(got, want, 1e-4, 1e-5, equal_nan=True) | want.isnan()
            if not bool(same.all()):
                wrong.append((str(one.expr), x[~same].tolist(), got[~same].tolist(), want.expand_as(x)[~same].tolist()))
    assert not wrong


def test_sums_are_the_same_every_time():
    one = function(parse("x*sigmoid(beta*x)"))
    x = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    launch, values = stacked([one], x)
    first, second = (launch.backward(torch.ones_like(x), x, values, 1)[1] for _ in range(2))
    assert torch.equal(first, second)


def test_a_function_that_needs_too_many_registers_is_declined(everywhere):
    """Torch's operators then compute its layer."""
    wide = function(parse(" + ".join(f"a{k}*tanh(a{k}*x)" for k in range(40))))
    assert not triton_activation.supported(wide)
    with pytest.raises(nl.errors.NonlinError, match="registers"):
        triton_activation._encode(wide.partial_expressions, wide.parameters)
    layer, x, values = Activations([wide]), torch.linspace(-1, 1, 7)[None].to(DEVICE), torch.ones(1, 40, 1).to(DEVICE)
    torch.testing.assert_close(layer.forward(x, values, 1, 1)[0], 40 * torch.tanh(x))


def test_the_cohorts_layer(everywhere):
    """`Activations` by the kernel as by the core, with x from a strided gradient."""
    texts = ("relu(x)", "x*Phi(x)", "x*sigmoid(beta*x)", "alpha*x + beta*tanh(x)")
    functions = sorted((function(parse(text)) for text in texts), key=sort_key)
    x = torch.linspace(-3, 3, 4 * 6 * 10).reshape(4, 6, 10).to(DEVICE)
    gradient = torch.linspace(-1, 2, 4 * 60).reshape(4, 10, 6).transpose(1, 2).to(DEVICE)
    values = torch.rand(4, 2, 6, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    layer = Activations(functions)
    y, kept = layer.forward(x, values, 6, 10)
    assert layer._launches[x.device] is not None
    assert kept is None
    by_x, by_values = layer.backward(gradient, x, values, 6, 10, kept)
    for k, one in enumerate(functions):
        value, slope, sums = truth(one, x[k], values[k], gradient[k].contiguous(), 10)
        torch.testing.assert_close(y[k].double().cpu(), value, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(by_x[k].double().cpu(), slope, rtol=1e-5, atol=1e-5)
        for got, want in zip(by_values[k], sums, strict=False):
            torch.testing.assert_close(got.double().cpu(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_a_module(per, monkeypatch, everywhere):
    """Forward and backward by the kernel, where it is asked for, as by torch's own operators."""
    monkeypatch.setattr(triton_activation, "_setting", lambda: "1")
    module = nl.activation("x*sigmoid(beta*x) + alpha").module(per=per, channels=5).to(DEVICE)
    x = torch.linspace(-3, 3, 60).reshape(4, 5, 3).to(DEVICE).requires_grad_()
    want = torch.autograd.grad((module(x) ** 2).sum(), [x, *module.parameters()])
    monkeypatch.setattr(direct, "fits", direct._fits_triton)
    monkeypatch.setattr(direct, "value", direct._triton_value)
    monkeypatch.setattr(direct, "gradients", lambda *given: direct._triton_gradients(*given[:4]))
    direct._launch.cache_clear()
    got = torch.autograd.grad((module(x) ** 2).sum(), [x, *module.parameters()])
    assert direct._launch.cache_info().currsize == 1
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from nonlin.native.triton_kernel import activate

names, pointers = activate.arg_names, {"code_ptr": "*i32", "children_ptr": "*i32", "constants_ptr": "*fp32",
                                       "values_ptr": "*fp32", "sums_ptr": "*fp32"}
fixed = dict(CHANNELS=64, ELEMENTS=4, PARAMETERS=2, R=16, PER_CHANNEL=True, BACKWARD=True)
signature = {name: "constexpr" if name in fixed else pointers.get(name, "*bf16" if name.endswith("ptr") else "i32")
             for name in names}
source = ASTSource(activate, signature, {(names.index(name),): value for name, value in fixed.items()})
made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 4})
assert ".target sm_80" in made.asm["ptx"] and made.asm["cubin"]
"""


def test_it_compiles_for_a_gpu_that_is_not_here(tmp_path):
    """To machine code: what the interpreter takes, the compiler may refuse."""
    pytest.importorskip("triton.backends.nvidia")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_DEFAULT_FP_FUSION": "1"}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
