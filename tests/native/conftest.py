"""Fixtures: the compiled core on each instruction set this machine has, the torch path without it, and
formulas to try them with: chosen ones, and random ones over the whole operator table."""

from __future__ import annotations

import random

import pytest

from nonlin.errors import NonlinError
from nonlin.expr import Const, Expr, Symbol, depth
from nonlin.expr.operators import FUNCTIONS
from nonlin.expr.tree import call
from nonlin.native import library


def _instruction_sets() -> list[str]:
    core = library.load()
    if core is None:
        return []
    best = core.isa
    found = []
    for name in ("avx512", "avx2", "base"):
        try:
            core.use_isa(name)
        except NonlinError:
            continue
        found.append(name)
    core.use_isa(best)
    return found


ISAS = _instruction_sets()


@pytest.fixture
def without_core(monkeypatch):
    """The compiled core is not there."""
    monkeypatch.setattr(library, "_find", lambda: (None, "switched off by a test"))


@pytest.fixture(params=[*ISAS[:1], "torch"])
def path(request):
    """The compiled core (where there is one), then the torch path."""
    if request.param == "torch":
        request.getfixturevalue("without_core")
    return request.param


@pytest.fixture(params=[*ISAS, "torch"])
def every_path(request):
    """Each instruction set of the compiled core, then the torch path."""
    if request.param == "torch":
        request.getfixturevalue("without_core")
        yield request.param
        return
    core = library.load()
    best = core.isa
    core.use_isa(request.param)
    yield request.param
    core.use_isa(best)


CHOSEN = (
    "relu(x)",
    "tanh(x)",
    "sigmoid(x)",
    "x*sigmoid(x)",
    "x*Phi(x)",
    "x*tanh(softplus(x))",
    "sin(x)",
    "min(x, sin(x))",
    "max(x, 0.1*x)",
    "where(x > 0, x, expm1(x))",
    "x*sigmoid(beta*x)",
    "x*sigmoid(-beta*x) + softplus(-beta*x)",
    "alpha*x + (1 - alpha)*tanh(beta*x)",
    "exp(-beta*(x - sin(x))**2)",
    "sinc(x) + cos(x)",
    "atan(x)*asinh(x)",
    "x**3 - abs(x)",
    "log(abs(x) + 1e-05)",
    "x/(1 + abs(x))",
    "erf(x)*x + phi(x)",
    "clip(x, -1, 1) + 0.01*x",
    "x*clip(x/6 + 0.5, 0, 1)",
    "cosh(x) - sinh(x)",
    "sqrt(1 + x**2) + x",
    "tanh(exp(x))",  # 0 times infinity in its derivative
    "sigmoid(x**3)*x",
)

_UNARY = [name for name, row in FUNCTIONS.items() if row.arity == 1]
_BINARY = ["add", "sub", "mul", "div", "max", "min", "add", "mul"]
_COMPARISONS = ["lt", "le", "gt", "ge"]


def random_expression(generator: random.Random, levels: int = 3) -> Expr:
    """A tree over every operator that a formula may have."""
    if levels == 0 or generator.random() < 0.1:
        return generator.choice(
            [Symbol("x")] * 6 + [Symbol("beta"), Symbol("alpha"), Const(round(generator.uniform(-3, 3), 2))]
        )

    def inner() -> Expr:
        return random_expression(generator, levels - 1)

    kind = generator.random()
    if kind < 0.5:
        return call(generator.choice(_UNARY), inner())
    if kind < 0.85:
        return call(generator.choice(_BINARY), inner(), inner())
    if kind < 0.9:
        return call("pow", inner(), Const(generator.choice([2.0, 3.0, -1.0, -2.0, 5.0, 0.5, 1.5])))
    if kind < 0.95:
        return call("where", call(generator.choice(_COMPARISONS), inner(), inner()), inner(), inner())
    return call("clip", inner(), Const(-1.0), Const(generator.choice([0.5, 1.0])))


def random_expressions(count: int, seed: int) -> list[Expr]:
    generator = random.Random(seed)
    found: list[Expr] = []
    while len(found) < count:
        tree = random_expression(generator)
        if "x" in tree.symbols and depth(tree) > 1:
            found.append(tree)
    return found


@pytest.fixture(scope="session")
def chosen() -> tuple[str, ...]:
    """Formulas that must hold everywhere."""
    return CHOSEN


@pytest.fixture(scope="session")
def random_trees():
    """``random_trees(count, seed)``: random expressions."""
    return random_expressions
