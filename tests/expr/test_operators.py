"""Every row of the operator table against mpmath: value, partial derivatives, symmetry.

The truth is the table `TRUTH` below, written from the definitions; partial derivatives are compared
with numerical derivatives of it at 60 digits. An error may be 4 units in the last place times
max(1, κ), κ being the condition number (see tests/zoo/test_catalogue.py).
"""

import math
from itertools import product

import pytest
import torch
from expressions import torch_node
from mpmath import mp, mpf, nstr

from nonlin.expr.codegen import compile_kernel
from nonlin.expr.derivative import partial
from nonlin.expr.expansion import expansion
from nonlin.expr.operators import EVEN, ODD, OPERATORS
from nonlin.expr.parse import parse
from nonlin.expr.tree import Call, Const, Symbol, substitute, walk

torch.set_num_threads(1)

DTYPES = [torch.float32, torch.float64]
IDS = ["float32", "float64"]


def spherical_bessel(n, x):
    if x == 0:
        return mpf(n == 0)
    sign = -1 if x < 0 and int(n) % 2 else 1
    return sign * mp.sqrt(mp.pi / (2 * abs(x))) * mp.besselj(n + mpf(1) / 2, abs(x))


TRUTH = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": lambda a, b: a**b,
    "lt": lambda a, b: mpf(a < b),
    "le": lambda a, b: mpf(a <= b),
    "gt": lambda a, b: mpf(a > b),
    "ge": lambda a, b: mpf(a >= b),
    "where": lambda a, b, c: b if a else c,
    "max": lambda a, b: a if a > b else b,
    "min": lambda a, b: b if a > b else a,
    "clip": lambda a, b, c: b if a < b else c if a > c else a,
    "heaviside": lambda a, b: mpf(1) if a > 0 else mpf(0) if a < 0 else b,
    "relu": lambda a: a if a > 0 else mpf(0),
    "abs": lambda a: a if a > 0 else -a,
    "sign": lambda a: mpf((a > 0) - (a < 0)),
    "floor": lambda a: mp.floor(a),
    "exp": lambda a: mp.e**a,
    "expm1": lambda a: mp.e**a - 1,
    "log": lambda a: mp.log(a),
    "log1p": lambda a: mp.log(1 + a),
    "sqrt": lambda a: mp.sqrt(a),
    "sigmoid": lambda a: 1 / (1 + mp.exp(-a)),
    "softplus": lambda a: mp.log(1 + mp.exp(a)),
    "logsigmoid": lambda a: -mp.log(1 + mp.exp(-a)),
    "sin": lambda a: mp.sin(a),
    "cos": lambda a: mp.cos(a),
    "tan": lambda a: mp.tan(a),
    "asin": lambda a: mp.asin(a),
    "acos": lambda a: mp.acos(a),
    "atan": lambda a: mp.atan(a),
    "sinc": lambda a: mp.sin(a) / a if a else mpf(1),
    "spherical_j": spherical_bessel,
    "sinh": lambda a: mp.sinh(a),
    "cosh": lambda a: mp.cosh(a),
    "tanh": lambda a: mp.tanh(a),
    "sech": lambda a: 1 / mp.cosh(a),
    "asinh": lambda a: mp.asinh(a),
    "acosh": lambda a: mp.acosh(a),
    "atanh": lambda a: mp.atanh(a),
    "erf": lambda a: mp.erf(a),
    "erfc": lambda a: mp.erfc(a),
    "Phi": lambda a: mp.ncdf(a),
    "phi": lambda a: mp.npdf(a),
    "pi": lambda: +mp.pi,
    "mul0": lambda a, b: a * b,
}

# Where the rows are tested. No kink and no jump is among these; the conventions there follow below.
_SMALL = [1e-20, 1e-6, 0.013, 0.31, 0.97, 1.37, 2.9, 5.3]
_LINE = [0.0, *_SMALL, 11.7, 33.0, 80.0, 300.0]
_BOTH = sorted({sign * x for x in _LINE for sign in (1, -1)})
_INSIDE = [sign * x for x in (0.0, 1e-20, 1e-4, 0.3, 0.7, 0.99, 0.9999) for sign in (1, -1)]
_PAIRS = [(a, b) for a, b in product((-300.0, -2.5, -0.3, 0.7, 1.9, 40.0), (-7.0, -0.6, 0.2, 3.0, 250.0)) if a != b]
POINTS = {
    "pow": [(a, b) for a in (1e-6, 0.4, 1.7, 9.0) for b in (-2.5, -1.0, 0.5, 1.0, 2.0, 3.7)]
    + [(-2.0, 3.0), (-0.7, 4.0), (0.0, 2.5), (0.0, 3.0)],
    "where": [(1.0, 2.5, -3.5), (0.0, 2.5, -3.5)],
    "clip": [(-4.0, -1.5, 2.5), (0.7, -1.5, 2.5), (300.0, -1.5, 2.5)],
    "heaviside": [(-2.0, 0.3), (5.0, 0.3)],
    "relu": [x for x in _BOTH if x],
    "abs": [x for x in _BOTH if x],
    "sign": [x for x in _BOTH if x],
    "floor": [-2.5, -0.3, 0.4, 7.9],
    "log": [1e-30, 1e-5, 0.5, 0.999, 1.001, 3.0, 1e10],
    "log1p": [-0.999, -0.5, -1e-6, 0.0, 1e-20, 0.013, 2.0, 1e10],
    "sqrt": [1e-30, 0.013, 2.0, 1e10],
    "asin": _INSIDE,
    "acos": _INSIDE,
    "atanh": _INSIDE,
    "acosh": [1.0001, 1.3, 4.0, 1e10],
    "asinh": [*_BOTH, -1e18, 9999.0, 10001.0, 1e18],
    "spherical_j": [(float(n), x) for n in range(1, 6) for x in (-300.0, -5.0, -0.3, 0.0, 1e-6, 0.9, 3.1, 6.2, 40.0)],
}


def points(name):
    """Argument tuples inside the domain of an operator."""
    arity = OPERATORS[name].arity
    if name in POINTS:
        return [p if isinstance(p, tuple) else (p,) for p in POINTS[name]]
    return [(), [(x,) for x in _BOTH], _PAIRS][arity] if arity else [()]


def truth(name, values, *by):
    """The value, or the derivative by the arguments numbered in `by`; None where it is not real."""
    if name == "pow" and values[0] == 0 and 1 in by:
        return mpf(0)  # the limit, where mpmath meets log(0)
    orders = tuple(by.count(index) for index in range(len(values)))
    # a jump at 0 must stay outside the difference quotient
    side = (values[0] > 0) - (values[0] < 0) if name in ("relu", "abs", "sign") else 0
    for digits in (60, 400):  # 400 where a small result may be what is left of a cancellation
        with mp.workdps(digits):
            inputs = tuple(map(mpf, values))
            result = mp.diff(TRUTH[name], inputs, orders, direction=side) if by else TRUTH[name](*inputs)
            if not isinstance(result, mpf):
                return None
            if abs(result) > 1e-15:
                break
    return result


def check(got, dtype, name, values, *by):
    """Empty if `got` is close enough, else what is wrong."""
    values = [torch.tensor(value, dtype=dtype).item() for value in values]
    want = truth(name, values, *by)
    limits = torch.finfo(dtype)
    if want is None or abs(want) > limits.max:
        return ""
    error, unit = abs(mpf(got) - want), 4 * limits.eps
    if error <= unit * abs(want) or error <= limits.tiny:
        return ""
    movable = [index for index in range(len(values)) if not (name == "spherical_j" and index == 0)]
    moves = [truth(name, values, *by, index) or 0 for index in movable]
    moved = sum(abs(values[index] * move) for index, move in zip(movable, moves, strict=True))
    bound = unit * max(abs(want), moved)
    if error <= bound:
        return ""
    return f"{name}{tuple(values)} by {by}: {got!r}, not {nstr(want, 12)}, {nstr(error, 3)} off"


def arguments(name, dtype):
    columns = zip(*points(name), strict=True)
    return [torch.tensor(column, dtype=dtype) for column in columns]


def values_of_row(name, dtype):
    """What the row's torch column gives at the points."""
    row, columns = OPERATORS[name], arguments(name, dtype)
    if name == "pi":
        return torch.tensor(float(row.torch), dtype=dtype)
    if name == "spherical_j":  # its order is a number, not a tensor
        trees = [Call(row, (Const(order), Symbol("b"))) for order in columns[0].tolist()]
        return torch.stack([_evaluate(tree, {"b": x}) for tree, x in zip(trees, columns[1], strict=True)])
    node = Call(row, tuple(Symbol(letter) for letter in "abc"[: row.arity]))
    return torch_node(node, columns, columns[0], {})


def partials_of_row(name, index, dtype):
    """What the row's partial derivative by argument `index` gives at the points."""
    tree, columns = partial(OPERATORS[name], index), arguments(name, dtype)
    if name == "spherical_j":
        return torch.stack(
            [_evaluate(substitute(tree, {"a": Const(float(n))}), {"b": x}) for n, x in zip(*columns, strict=True)]
        )
    return _evaluate(tree, dict(zip("abc", columns, strict=False)))


def _evaluate(tree, values):
    """The first argument takes the place of x, for which the kernel guards products."""
    first, *rest = values
    tree = substitute(tree, {first: Symbol("x")})
    (result,) = compile_kernel((tree,), tuple(rest))(values[first], *(values[letter] for letter in rest))
    return result


def _as_it_stands(node, values):
    """The value of a tree without the rewriting that precedes compilation."""
    if isinstance(node, Symbol):
        return values[node.name]
    args = [_as_it_stands(arg, values) for arg in node.args]
    return torch_node(node, args, next(iter(values.values())), {})


def test_every_row_is_tested():
    assert set(OPERATORS) - set(TRUTH) == set(), "write the definition of these into TRUTH above"
    assert set(TRUTH) - set(OPERATORS) == set(), "TRUTH above has operators that the table has not"


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
@pytest.mark.parametrize("name", sorted(TRUTH))
def test_value(name, dtype):
    results = values_of_row(name, dtype).reshape(-1)
    assert results.dtype == dtype
    wrong = [check(got, dtype, name, at) for at, got in zip(points(name), results.tolist(), strict=True)]
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
@pytest.mark.parametrize("name", sorted(name for name in TRUTH if OPERATORS[name].arity))
def test_partials(name, dtype):
    wrong = []
    for index, text in enumerate(OPERATORS[name].partials):
        if text is None:
            assert (name, index) in (("where", 0), ("spherical_j", 0))
            continue
        results = partials_of_row(name, index, dtype).tolist()
        wrong += [check(got, dtype, name, at, index) for at, got in zip(points(name), results, strict=True)]
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("name", sorted(name for name in TRUTH if OPERATORS[name].formula and OPERATORS[name].arity))
def test_formula(name):
    """The row's formula in simpler operators is the function, to the last digits of float64."""
    row, columns = OPERATORS[name], arguments(name, torch.float64)
    letters = "abc"[: row.arity]
    simpler = expansion(Call(row, tuple(Symbol(letter) for letter in letters)))
    assert simpler is not None
    assert not any(isinstance(node, Call) and node.operator is row for node in walk(simpler))
    results = _as_it_stands(simpler, dict(zip(letters, columns, strict=True))).tolist()
    wrong = [check(got, torch.float64, name, at) for at, got in zip(points(name), results, strict=True)]
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("name", sorted(name for name in TRUTH if OPERATORS[name].arity == 1))
def test_symmetry(name):
    """The row says even or odd exactly where the function is."""
    inside = name in ("log", "sqrt", "acosh")  # not defined on both sides of 0
    xs = [0.3, 0.7, 0.9]
    even = not inside and all(mp.almosteq(TRUTH[name](-mpf(x)), TRUTH[name](mpf(x))) for x in xs)
    odd = not inside and all(mp.almosteq(TRUTH[name](-mpf(x)), -TRUTH[name](mpf(x))) for x in xs)
    assert OPERATORS[name].symmetry == (EVEN if even else ODD if odd else None)


@pytest.mark.parametrize("name", sorted(name for name in TRUTH if OPERATORS[name].arity == 2))
def test_commutativity(name):
    swaps = all(TRUTH[name](mpf(a), mpf(b)) == TRUTH[name](mpf(b), mpf(a)) for a, b in ((2, 3), (3, 2), (-1, 4)))
    assert OPERATORS[name].commutative == swaps


@pytest.mark.parametrize("name", sorted(name for name in TRUTH if name != "mul0"))
def test_is_read_by_its_name_or_symbol(name):
    row = OPERATORS[name]
    letters = "abc"[: row.arity]
    if row.symbol:
        text = f"{row.symbol}a" if row.arity == 1 else f"a {row.symbol} b"
    elif name == "spherical_j":
        text, letters = "spherical_j(2, b)", "b"
    else:
        text = f"{name}({', '.join(letters)})" if letters else name
    tree = parse(text)
    assert tree.operator is row
    assert tree.parameters == tuple(letters)


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
@pytest.mark.parametrize(
    ("text", "by", "x", "want"),
    [
        ("relu(x)", "x", 0.0, 0.0),
        ("abs(x)", "x", 0.0, 0.0),
        ("max(x, p)", "x", 1.0, 0.5),
        ("max(x, p)", "p", 1.0, 0.5),
        ("min(x, p)", "x", 1.0, 0.5),
        ("min(x, p)", "p", 1.0, 0.5),
        ("clip(x, p, 3)", "x", 1.0, 1.0),
        ("clip(x, p, 3)", "p", 1.0, 0.0),
        ("clip(x, 0, p)", "x", 1.0, 1.0),
        ("x**p", "p", 0.0, 0.0),
        ("relu(x)**p", "p", -2.0, 0.0),
    ],
)
def test_conventions_at_kinks(text, by, x, want, dtype):
    """p is 1. As in torch's autograd, where it has the operator."""
    from nonlin.expr.derivative import derivative

    kernel = compile_kernel((derivative(parse(text), by),), ("p",))
    (got,) = kernel(torch.tensor([x], dtype=dtype), torch.tensor(1.0, dtype=dtype))
    assert got.item() == want


@pytest.mark.parametrize("name", ["sign", "heaviside", "lt", "le", "gt", "ge"])
def test_values_at_jumps(name):
    row = OPERATORS[name]
    a, b = torch.tensor([-0.0, 0.0]), torch.tensor([0.0, 0.0])
    columns = [a] if row.arity == 1 else [a, b + 0.25] if name == "heaviside" else [a, b]
    node = Call(row, tuple(Symbol(letter) for letter in "ab"[: row.arity]))
    want = {"sign": 0.0, "heaviside": 0.25, "lt": 0.0, "le": 1.0, "gt": 0.0, "ge": 1.0}[name]
    assert torch_node(node, columns, a, {}).tolist() == [want, want]


@pytest.mark.parametrize("name", sorted(set(TRUTH) - {"pi", "spherical_j"}))
def test_nan_goes_in_and_comes_out(name):
    """Except where a comparison decides, and in functions that are flat there (the kernel sees to those)."""
    row = OPERATORS[name]
    columns = [torch.tensor([math.nan, 1.5]) for _ in range(row.arity)]
    if name == "heaviside":
        columns[1] = torch.tensor([0.25, 0.25])
    node = Call(row, tuple(Symbol(letter) for letter in "abc"[: row.arity]))
    result = torch_node(node, columns, columns[0], {})
    hides = row.boolean or name in ("heaviside", "sign")
    assert result.isnan().tolist() == [not hides, name in ("acos", "asin", "atanh")]
