"""Random expressions for property tests, and the operator table's rows run on torch tensors one at a time."""

import inspect
import math
from functools import cache

import torch
from hypothesis import strategies as st

from nonlin.expr import special
from nonlin.expr.operators import OPERATORS
from nonlin.expr.tree import Const, Symbol, call

NUMBERS = st.one_of(
    st.integers(-5, 5).map(float),
    st.sampled_from([0.5, -0.25, 0.044715, 1e-5, 1.702, 2.5e10]),
)
LEAVES = st.one_of(NUMBERS.map(Const), st.sampled_from(["x", "x", "x", "beta", "alpha"]).map(Symbol))
SPECIAL = ("spherical_j", "mul0", "pow")
ROWS = [row for row in OPERATORS.values() if row.name not in SPECIAL]


def _extend(inner):
    calls = st.sampled_from(ROWS).flatmap(
        lambda row: st.tuples(*[inner] * row.arity).map(lambda args: call(row.name, *args))
    )
    powers = st.tuples(inner, st.integers(-3, 4)).map(lambda pair: call("pow", pair[0], float(pair[1])))
    return st.one_of(calls, powers)


def expressions(most: int = 12):
    """Trees over the whole table, with x, two parameters and numbers at the leaves."""
    return st.recursive(LEAVES, _extend, max_leaves=most)


# Smooth functions that are finite for moderate arguments, for tests that compare values.
_TAME = ("add", "sub", "mul", "neg", "abs", "tanh", "sigmoid", "softplus", "sin", "cos", "erf", "atan", "asinh",
         "relu", "max", "min", "sinc", "exp", "expm1", "cosh", "sech", "Phi", "phi", "erfc", "logsigmoid")  # fmt: skip


def _tame(inner):
    calls = st.sampled_from(_TAME).flatmap(
        lambda name: st.tuples(*[inner] * OPERATORS[name].arity).map(lambda args: call(name, *args))
    )
    powers = st.tuples(inner, st.integers(0, 3)).map(lambda pair: call("pow", pair[0], float(pair[1])))
    return st.one_of(calls, calls, powers)


def tame_expressions(most: int = 8):
    return st.recursive(
        st.one_of(
            st.sampled_from([1.0, 2.0, -1.0, 0.5, 3.0]).map(Const), st.sampled_from(["x", "x", "beta"]).map(Symbol)
        ),
        _tame,
        max_leaves=most,
    )


@cache
def torch_row(name: str):
    """The row's text as a function of tensors."""
    functions = dict(inspect.getmembers(special, inspect.isfunction))
    return eval(
        f"lambda a=None, b=None, c=None: {OPERATORS[name].torch.format('a', 'b', 'c')}", functions | {"torch": torch}
    )


def torch_node(node, args, x, environment):
    """What `nonlin.expr.values.evaluate_node` is on arrays, on tensors."""
    if isinstance(node, Const):
        return torch.tensor(node.value, dtype=x.dtype)
    if isinstance(node, Symbol):
        return x if node.name == "x" else environment[node.name]
    if node.name == "pi":
        return torch.tensor(math.pi, dtype=x.dtype)
    if node.name == "spherical_j":  # its order is a number
        args = [float(args[0]), args[1]]
    return torch_row(node.name)(*args).to(x.dtype)
