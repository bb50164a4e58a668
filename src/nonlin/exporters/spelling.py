"""How an operator is written in each target, where the target has a function of its own for it.

A spelling is the target's own code with {0}, {1}, {2} for the arguments, or, after "=", a formula of the
language in a, b, c that stands for it there; "=" alone is the formula of the operator's row in
`nonlin.expr.operators`, which also serves an operator without a row here. The column for ONNX holds the name of
an ONNX operator, or "=". Torch and LaTeX are columns of the operator table itself.

The formulas are chosen so that no target loses digits or overflows where ours does not: most libraries'
own sigmoid, for one, has no digits left at -20 in float32 (1 - tanh), and ONNX has neither expm1 nor erfc.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple

from nonlin.errors import ExportError
from nonlin.expr import Expr
from nonlin.expr.expansion import expansion, in_terms_of
from nonlin.expr.tree import Call, Const, call

Target = Literal["c", "jax", "keras", "onnx"]


class Spelling(NamedTuple):
    c: str
    jax: str
    keras: str
    onnx: str


def _named(c: str, numpy: str, keras: str, onnx: str) -> Spelling:
    """A function of one argument that all four have; @ becomes f in C's float version."""
    return Spelling(f"{c}@({{0}})", f"jnp.{numpy}({{0}})", f"ops.{keras}({{0}})", onnx)


def _infix(symbol: str, onnx: str) -> Spelling:
    text = f"{{0}} {symbol} {{1}}"
    return Spelling(text, text, text, onnx)


def _comparison(symbol: str, onnx: str) -> Spelling:
    return Spelling(
        f"({{0}} {symbol} {{1}} ? 1 : 0)", f"jnp.asarray({{0}} {symbol} {{1}}, x.dtype)",
        f"ops.cast({{0}} {symbol} {{1}}, x.dtype)", onnx,
    )  # fmt: skip


# erfc(z) = t·exp(-z² + p(t)) for z ≥ 0, t = 1/(1 + z/2): p is our Chebyshev fit of degree 9, within 1.3e-7.
_P = (
    -1.26551228, 1.00002695, 0.3740347894, 0.09723990062, -0.1882582638, 0.2838751439, -1.142898152, 1.495544243,
    -0.8256639266, 0.1716116581,
)  # fmt: skip
_T = "(1/(1 + 0.5*abs(a)))"
_POLYNOMIAL = f"{_P[-1]!r}"
for _coefficient in _P[-2::-1]:
    _POLYNOMIAL = f"({_coefficient!r} + {_T}*{_POLYNOMIAL})"
_TAIL = f"({_T}*exp(-a*a + {_POLYNOMIAL}))"
_ERFC = f"=where(a > 0.5, {_TAIL}, where(a < -0.5, 2 - {_TAIL}, 1 - erf(a)))"
_EXPM1 = "=where(a < 1, 2*tanh(0.5*min(a, 1))/(1 - tanh(0.5*min(a, 1))), exp(a) - 1)"
_LOG1P = "=where(a < 1, 2*atanh(min(a, 1)/(2 + min(a, 1))), log(1 + a))"
# asinh(s) = log1p(s + s²/(1 + √(1 + s²))), odd
_ASINH = "=where(a < 0, -1, 1)*log1p(abs(a) + abs(a)*(abs(a)/(1 + sqrt(1 + a*a))))"

SPELLINGS: dict[str, Spelling] = {
    # arithmetic
    "add": _infix("+", "Add"),
    "sub": _infix("-", "Sub"),
    "mul": _infix("*", "Mul"),
    "div": _infix("/", "Div"),
    "neg": Spelling("-{0}", "-{0}", "-{0}", "Neg"),
    "pow": Spelling("pow@({0}, {1})", "jnp.power({0}, {1})", "ops.power({0}, {1})", "Pow"),
    # comparisons
    "lt": _comparison("<", "Less"),
    "le": _comparison("<=", "LessOrEqual"),
    "gt": _comparison(">", "Greater"),
    "ge": _comparison(">=", "GreaterOrEqual"),
    # pieces
    "where": Spelling(
        "({0} != 0 ? {1} : {2})",
        "jnp.where({0} != 0, {1}, {2})",
        "ops.cast(ops.where({0} != 0, {1}, {2}), x.dtype)",
        "Where",
    ),
    "max": Spelling("nl_max@({0}, {1})", "jnp.maximum({0}, {1})", "ops.maximum({0}, {1})", "Max"),
    "min": Spelling("nl_min@({0}, {1})", "jnp.minimum({0}, {1})", "ops.minimum({0}, {1})", "Min"),
    "abs": _named("fabs", "abs", "abs", "Abs"),
    "sign": Spelling("=where(a > 0, 1, where(a < 0, -1, 0))", "jnp.sign({0})", "ops.sign({0})", "Sign"),
    "floor": _named("floor", "floor", "floor", "Floor"),
    # exponentials and logarithms
    "exp": _named("exp", "exp", "exp", "Exp"),
    "expm1": _named("expm1", "expm1", "expm1", _EXPM1),
    "log": _named("log", "log", "log", "Log"),
    "log1p": _named("log1p", "log1p", "log1p", _LOG1P),
    "sqrt": _named("sqrt", "sqrt", "sqrt", "Sqrt"),
    "softplus": Spelling("=", "=", "=", "Softplus"),
    # trigonometric
    "sin": _named("sin", "sin", "sin", "Sin"),
    "cos": _named("cos", "cos", "cos", "Cos"),
    "tan": _named("tan", "tan", "tan", "Tan"),
    "asin": _named("asin", "arcsin", "arcsin", "Asin"),
    "acos": _named("acos", "arccos", "arccos", "Acos"),
    "atan": _named("atan", "arctan", "arctan", "Atan"),
    # hyperbolic
    "sinh": _named("sinh", "sinh", "sinh", "Sinh"),
    "cosh": _named("cosh", "cosh", "cosh", "Cosh"),
    "tanh": _named("tanh", "tanh", "tanh", "Tanh"),
    "asinh": Spelling("asinh@({0})", _ASINH, _ASINH, _ASINH),
    "acosh": _named("acosh", "arccosh", "arccosh", "Acosh"),
    "atanh": _named("atanh", "arctanh", "arctanh", "Atanh"),
    # normal distribution
    "erf": Spelling("erf@({0})", "jax.scipy.special.erf({0})", "ops.erf({0})", "Erf"),
    "erfc": Spelling("erfc@({0})", "jax.scipy.special.erfc({0})", _ERFC, _ERFC),
}


def expand(node: Expr, target: Target) -> Expr:
    """The tree with only such operators as the target has code for.

    Raises
    ------
    ExportError : for an operator that has neither code for this target nor a formula
    """
    return _expand(node, target)


@lru_cache(maxsize=65536)
def _expand(node: Expr, target: Target) -> Expr:
    if not isinstance(node, Call):
        return node
    args = tuple(_expand(arg, target) for arg in node.args)
    text: str = getattr(SPELLINGS[node.name], target) if node.name in SPELLINGS else "="
    if not text.startswith("="):
        return call(node.name, *args)
    simpler = _simpler(Call(node.operator, args), text[1:])
    if simpler is None:
        raise ExportError(
            f"{node.name} cannot be written in {target}: give its row in nonlin/expr/operators.py a formula, or add a "
            "row for it in nonlin/exporters/spelling.py."
        )
    return _expand(simpler, target)


def _simpler(node: Call, formula: str) -> Expr | None:
    """The call in simpler operators: by a formula of this table, or by the operator's own."""
    if node.name == "spherical_j":
        order, argument = node.args
        assert isinstance(order, Const)
        return _bessel(int(order.value), argument)
    return in_terms_of(formula, node.args) if formula else expansion(node)


def _bessel(n: int, a: Expr) -> Expr:
    """The spherical Bessel function j_n(a): power series for |a| < n + 1, upward recurrence beyond.

    [DLMF 10.53.1 and 10.51.1]
    """
    inside = call("lt", call("abs", a), n + 1)
    half_square = call("where", inside, a * a * 0.5, 0.0)
    series: Expr = Const(1.0)
    for k in range(13 + n, 0, -1):  # Horner's form of Σ (-a²/2)^k / (k! (2n+3)(2n+5)…(2n+2k+1))
        series = Const(1.0) - half_square * (1.0 / (k * (2 * n + 2 * k + 1))) * series
    if n:
        small = call("where", inside, a, 0.0)
        series = series * small ** float(n) * (1.0 / math.prod(range(1, 2 * n + 2, 2)))
    large = call("where", inside, float(n + 1), a)
    lower: Expr = call("cos", large) / large
    current: Expr = call("sin", large) / large
    for k in range(n):
        lower, current = current, Const(2.0 * k + 1) / large * current - lower
    return call("where", inside, series, current)
