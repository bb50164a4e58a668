"""Programs against the torch kernels: value, derivative and parameter gradients."""

from __future__ import annotations

import pytest
import torch

from nonlin import native
from nonlin.expr import parse
from nonlin.expr.codegen import compile_kernel
from nonlin.expr.operators import OPERATORS
from nonlin.native import library, program
from nonlin.strategies.spaces import space

PARAMETERS = {"alpha": 0.8, "beta": 1.3, "beta1": 0.7, "beta2": 1.2, "beta3": 1.1}
EXTREMES = (0.0, -0.0, 1e-45, -1e-45, 1e-39, 300.0, -300.0, 88.0, -88.0, 1e4, -1e4, 1e30, -1e30)
NOT_FINITE = (float("inf"), float("-inf"), float("nan"))


def _oracle(f: native.Function, x: torch.Tensor) -> list[torch.Tensor]:
    values = [torch.tensor(PARAMETERS[name], dtype=x.dtype) for name in f.parameters]
    outputs = compile_kernel((f.expr, *f.partial_expressions), f.parameters)(x, *values)
    return [torch.broadcast_to(output, x.shape) for output in outputs]


def _machine(f: native.Function, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return native.forward_with_derivatives(f, x, [PARAMETERS[name] for name in f.parameters])


def _noise(x: torch.Tensor, f: native.Function) -> tuple[list, list]:
    """Values in float64, and what rounding in float32 does to them, the largest among neighbours."""
    exact = _oracle(f, x)
    noises = []
    for value, rounded in zip(exact, _oracle(f, x.float()), strict=True):
        error = (rounded.double() - value).abs()
        error = torch.where(torch.isfinite(error), error, torch.zeros_like(error))
        spread = torch.nn.functional.max_pool1d(error[None], 129, 1, 64)[0]
        noises.append(spread + value.abs() * 2.0**-23 + 1e-30)
    return exact, noises


def _outliers(got: torch.Tensor, exact: torch.Tensor, torch_value: torch.Tensor, tolerance: torch.Tensor):
    """Where NaN, infinity or the value is not as it should be."""
    finite = torch.isfinite(exact) & torch.isfinite(torch_value)
    wrong = finite & ~((got.double() - exact).abs() <= tolerance)
    return wrong | (torch.isnan(got) != torch.isnan(torch_value))


def _check(expr, allowed: float) -> None:
    f = native.function(expr)
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(1500, generator=generator, dtype=torch.float64) * 16 - 8).float().double().sort().values
    exact, noises = _noise(x, f)
    single, double = _machine(f, x.float()), _machine(f, x)
    for k, name in enumerate(("f", "df/dx", *(f"df/d{p}" for p in f.parameters))):
        bad32 = _outliers(single[k], exact[k], _oracle(f, x.float())[k], 16 * noises[k])
        bad64 = _outliers(double[k], exact[k], exact[k], 2.0**-29 * 2000 * noises[k])
        for bad, dtype in ((bad32, "float32"), (bad64, "float64")):
            share = float(bad.double().mean())
            assert share <= allowed, f"{name} of {expr} in {dtype}: {share:.2%} differ, first at {x[bad][:3]}"


def test_chosen_formulas(chosen, every_path):
    for formula in chosen:
        _check(parse(formula), allowed=0.0)


def test_core_units(path):
    units = space("core-1")
    for index in range(7, len(units), 97):
        _check(units[index], allowed=0.0)


@pytest.mark.parametrize("seed", range(4))
def test_random_programs(seed, random_trees, path):
    for expr in random_trees(25, seed):
        _check(expr, allowed=0.01)  # at a jump, or at the edge of a domain, rounding may choose the other side


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_inputs(dtype, chosen, path):
    x = torch.tensor([*EXTREMES, *NOT_FINITE], dtype=dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    for formula in chosen:
        f = native.function(parse(formula))
        for name, got, want in zip(("f", "df/dx", "df/dp", "df/dq"), _machine(f, x), _oracle(f, x), strict=False):
            torch.testing.assert_close(
                got,
                want,
                rtol=tolerance,
                atol=1e-37,
                equal_nan=True,
                msg=lambda m, n=name, t=formula: f"{n} of {t}: {m}",
            )


def test_conventions(path):
    x = torch.tensor([-1.0, 0.0, 1.0, float("nan")])
    nan = float("nan")
    for formula, value, slope in (
        ("relu(x)", [0, 0, 1, nan], [0, 0, 1, nan]),
        ("sign(x)", [-1, 0, 1, nan], [0, 0, 0, nan]),
        ("max(x, -x)", [1, 0, 1, nan], [-1, 0, 1, nan]),
        ("min(x, 2*x)", [-2, 0, 1, nan], [2, 1.5, 1, nan]),
        ("clip(x, 0, 1)", [0, 0, 1, nan], [0, 1, 1, nan]),
        ("x > 0", [0, 0, 1, nan], [0, 0, 0, nan]),
        ("abs(x)", [1, 0, 1, nan], [-1, 0, 1, nan]),
    ):
        got = native.forward_with_derivatives(native.function(parse(formula)), x)
        for one, want in zip(got, (value, slope), strict=True):
            torch.testing.assert_close(one, torch.tensor(want, dtype=torch.float32), equal_nan=True, msg=formula)


def test_a_constant_hides_no_nan(path):
    f = native.function(parse("beta"), ("beta",))
    value, slope, by_beta = native.forward_with_derivatives(f, torch.tensor([1.0, float("nan")]), [2.5])
    assert value[0] == 2.5
    assert slope[0] == 0
    assert by_beta[0] == 1
    assert torch.isnan(torch.stack([value, slope, by_beta])[:, 1]).all()


# The table


def test_instructions_are_of_operators():
    assert set(program.DIRECT) | set(program.COMPOSED) <= set(OPERATORS)
    assert all(hasattr(program._Assembler, f"compose_{name}") for name in program.COMPOSED)


@pytest.mark.parametrize("name", [name for name, row in OPERATORS.items() if row.formula and row.arity == 1])
def test_an_operator_without_instructions_is_written_by_its_formula(name, monkeypatch):
    if library.load() is None:
        pytest.skip("the compiled core is not there")
    text = f"{name}(x)*x"
    x = torch.linspace(-3, 3, 7)
    with_instructions = native.forward(native.Function(parse(text), ()), x)
    program.compile_program.cache_clear()
    monkeypatch.delitem(program.DIRECT, name, raising=False)
    monkeypatch.setattr(program, "COMPOSED", [one for one in program.COMPOSED if one != name])
    f = native.Function(parse(text), ())
    assert f.supported
    torch.testing.assert_close(native.forward(f, x), with_instructions, rtol=2e-6, atol=1e-6)
    program.compile_program.cache_clear()


def test_an_operator_without_instructions_falls_back(monkeypatch):
    program.compile_program.cache_clear()
    monkeypatch.delitem(program.DIRECT, "atan")
    f = native.Function(parse("atan(x)*x"), ())
    assert not f.supported
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(native.forward(f, x), torch.atan(x) * x)


def test_one_exponential_for_swish():
    if library.load() is None:
        with pytest.raises(library.NonlinError, match="compiled core is not there"):
            _ = native.function(parse("x*sigmoid(x)")).derivatives
        return
    names = [line.split()[0] for line in native.function(parse("x*sigmoid(beta*x)")).derivatives.listing]
    assert names.count("decay") == 1
    assert "exp" not in names
    both = [line.split()[0] for line in native.function(parse("sin(x)")).derivatives.listing]
    assert both == ["sin_cos"]


def test_registers_are_reused():
    if library.load() is None:
        assert library.reason()
        return
    terms = " + ".join(f"sin({k}*x)" for k in range(1, 30))
    compiled = native.function(parse(terms)).value
    assert compiled.registers < 1 + len(compiled.constants) + 1 + 8


def test_bad_programs_are_refused():
    core = library.load()
    if core is None:
        assert not native.available()
        return
    good = native.function(parse("x*tanh(x)")).value
    for word, value in ((0, 10_000), (1, 0), (3, 999), (3, -1)):
        code = good.code.copy()
        code[0, word] = value
        bad = program.Program(code, good.constants, 0, 1, good.registers)
        f = native.Function(parse("x*tanh(x)"), ())
        f.__dict__["value"] = bad
        f.__dict__["derivatives"] = bad
        with pytest.raises(library.NonlinError, match="cannot take"):
            native.forward(f, torch.zeros(3))


def test_functions_pickle():
    import pickle

    f = native.function(parse("x*sigmoid(beta*x)"))
    if library.load() is not None:
        assert f.value.c.outputs == 1
    assert pickle.loads(pickle.dumps(f)) is f
