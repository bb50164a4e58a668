"""The operator table on NumPy arrays: the same values as on torch tensors, and the truth where torch has none."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from expressions import expressions, torch_node
from hypothesis import given
from mpmath import mp, mpf

from nonlin.expr import derivative, parse, values
from nonlin.expr.codegen import compile_array_function, compile_kernel
from nonlin.expr.lowering import hides_nan, lower
from nonlin.expr.operators import OPERATORS
from nonlin.expr.tree import Call, Const, Symbol, X, call
from nonlin.expr.values import evaluate, evaluate_node
from nonlin.zoo.catalogue import catalogue

torch.set_num_threads(1)

_SIZES = [1e-300, 1e-20, 1e-6, 0.013, 0.31, 0.97, 1.37, 2.9, 5.3, 11.7, 33.0, 80.0, 300.0, 1e10, math.inf]
LINE = np.array([0.0, -0.0, *_SIZES, *(-size for size in _SIZES), math.nan])
# Units in the last place: libraries of elementary functions differ by one or two, and by more near zeros and in tails.
ULPS = {"spherical_j": 64, "sinc": 64, "erfc": 16, "Phi": 16, "pow": 8}
KNOWN = list(catalogue().entries)


def same(numpy_values, torch_values, ulps=4, scale=0.0):
    """Equal where not finite, and within `ulps` units of the value (or of `scale`) elsewhere."""
    a, b = np.asarray(numpy_values), torch_values.numpy()
    finite = np.isfinite(b)
    limits = np.finfo(b.dtype)
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a[~finite], b[~finite])
    with np.errstate(over="ignore"):
        bound = ulps * limits.eps * np.maximum(np.abs(b), scale) + ulps * limits.tiny
        assert (np.abs(a[finite] - b[finite]) <= np.broadcast_to(bound, b.shape)[finite]).all()


def arguments(row, dtype):
    """One array for each argument: every pair of points, the third argument above the second."""
    if row.arity == 0:
        return []
    if row.name == "spherical_j":
        return [dtype(2), LINE.astype(dtype)]
    if row.arity == 1:
        return [LINE.astype(dtype)]
    a, b = (part.reshape(-1).astype(dtype) for part in np.meshgrid(LINE, LINE))
    return [a, b, b + 1][: row.arity]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_row_has_torch_s_values(name, dtype):
    row = OPERATORS[name]
    columns = arguments(row, dtype)
    node = Call(row, tuple(Symbol(letter) for letter in "abc"[: row.arity]))
    x = columns[-1] if columns else LINE.astype(dtype)
    with np.errstate(all="ignore"):
        got = evaluate_node(node, columns, x, {})
    tensors = [torch.from_numpy(np.atleast_1d(column)) for column in columns]
    want = torch_node(node, tensors, torch.from_numpy(x), {})
    same(np.broadcast_to(got, want.shape), want, ULPS.get(name, 4))


@pytest.mark.parametrize("name", KNOWN)
def test_the_catalogue_has_torch_s_values(name):
    """Value and derivative of every known function, parameters moved from their initial values."""
    act = catalogue().entries[name].activation()
    x = np.concatenate([np.linspace(-8.03, 8.01, 97), [-300.0, 300.0, math.nan]])
    parameters = {key: value * 1.25 + 0.25 for key, value in act.parameters.items()}
    given_numbers = [np.float64(value) for value in parameters.values()]
    tensors = [torch.tensor(value, dtype=torch.float64) for value in parameters.values()]
    for expr in (act.expr, derivative(act.expr)):
        got = compile_array_function(expr, tuple(parameters))(x, *given_numbers)
        (want,) = compile_kernel((expr,), tuple(parameters))(torch.from_numpy(x), *tensors)
        # what a sum cancels to is as exact as its largest part
        same(got, want.expand(x.shape), 256, scale=1e-2)


@given(expressions())
def test_random_expressions_hide_a_nan_here_where_torch_hides_it(tree):
    lowered = lower(tree, ("beta", "alpha"))
    nan, ones = torch.full((1,), math.nan, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    known = {}

    def visit(node):
        if node not in known:
            known[node] = torch_node(node, [visit(arg) for arg in node.args], nan, {"beta": ones, "alpha": ones})
        return known[node]

    assert hides_nan((lowered,), ("beta", "alpha")) == (not bool(visit(lowered).isnan().all()),)


def test_the_kernel_passes_a_nan_on():
    x = np.array([math.nan, 1.5])
    for text in ("heaviside(x, 0.5)", "sign(x)", "where(x > 0, 1, 2)", "x > 1", "3", "x"):
        got = compile_array_function(parse(text))(x)
        assert got.dtype == x.dtype
        assert got.shape == x.shape
        if text != "3":
            assert math.isnan(got[0])
        assert not math.isnan(got[1])


def test_an_array_that_is_returned_is_a_new_one():
    x = np.ones(3)
    assert compile_array_function(X)(x) is not x


@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_the_error_function_is_exact_and_does_not_depend_on_the_size_of_the_array(name):
    function = getattr(values, name)
    few = np.linspace(-5.9, 5.9, 31)
    np.testing.assert_array_equal(function(np.tile(few, 3000))[-31:], function(few))
    with mp.workdps(30):
        truth = [float(getattr(mp, name)(mpf(value))) for value in few]
    np.testing.assert_allclose(function(few), truth, rtol=1e-15)


def test_equal_parts_are_evaluated_once():
    part = call("exp", X)
    first, second = evaluate((part + part, call("mul", part, Const(2))), np.array([0.7]), {})
    np.testing.assert_array_equal(first, second)


def test_identity_and_lowering_need_no_torch():
    code = (
        "import sys\n"
        "from nonlin.expr import parse\n"
        "from nonlin.expr.identity import kind, same_function\n"
        "from nonlin.expr.codegen import compile_array_function, kernel_source\n"
        "from nonlin.zoo.recognise import recognise\n"
        "f = parse('x*Phi(x)')\n"
        "assert same_function(f, parse('0.5*x*(1 + erf(x/sqrt(2)))')) and kind(f) == 'ordinary'\n"
        "assert str(recognise(f)[0]) == 'gelu'\n"
        "compile_array_function(f), kernel_source((f,), ())\n"
        "print([name for name in ('torch', 'scipy', 'sympy') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
