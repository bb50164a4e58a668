"""The space core-1: its size, its members, unbiased sampling, and its census."""

import pickle

import numpy as np
import pytest

from nonlin.errors import UnknownNameError
from nonlin.expr import parse
from nonlin.expr.identity import IdentityIndex, kind, same_function
from nonlin.strategies import census, space, strategy
from nonlin.strategies.spaces import BINARY, UNARY, Space

CORE = space("core-1")
SMALL = Space("small", ("a", "-a", "beta*a", "sin(a)", "max(a, 0)", "beta"), ("a + b", "a*b", "exp(-beta*(a - b)**2)"))


def test_size_is_that_of_the_paper():
    assert (len(UNARY), len(BINARY), len(CORE)) == (25, 10, 6250)
    assert len(set(UNARY)) == 25
    assert sum(1 for _ in CORE) == 6250


def test_members():
    texts = {str(CORE[index]) for index in range(len(CORE))}
    assert "x*sigmoid(x)" in texts
    assert "min(x, sin(x))" in texts
    assert "beta1*x + beta2*x" in texts
    assert "exp(-beta*(x - x)**2)" in texts
    with pytest.raises(IndexError):
        CORE[6250]


@pytest.mark.parametrize(
    "text",
    [
        "x*sigmoid(beta*x)",
        "max(x, sigmoid(x))",
        "cos(x) - x",
        "min(x, sin(x))",
        "atan(x)**2 - x",
        "max(x, tanh(x))",
        "sinc(x) + x",
    ],
)
def test_the_papers_best_one_unit_functions_are_in_it(text):
    index = IdentityIndex()
    for expr in CORE:
        index.add(expr)
    # atan(x)**2 and asinh(x)**2 need a second unary function, so the paper found them with two units
    assert (index.find(parse(text)) is not None) == ("atan" not in text)


def test_parameters_are_separate():
    assert CORE[len(CORE) - 1].parameters == ("beta3", "beta1", "beta2")


def test_sampling_is_unbiased():
    generator = np.random.default_rng(0)
    counts = np.zeros(len(SMALL))
    where = {str(SMALL[index]): index for index in range(len(SMALL))}
    assert len(where) == len(SMALL) == 108
    draws = 108 * 60
    for _ in range(draws):
        counts[where[str(SMALL.sample(generator))]] += 1
    chi_square = float(((counts - 60) ** 2 / 60).sum())
    assert chi_square < 160  # 107 degrees of freedom, p = 0.001 at 158


def test_census_against_pairwise_comparison():
    """The index must find exactly the classes that comparing every pair finds."""
    found = census(SMALL)
    classes: list = []
    for expr in SMALL:
        if not any(same_function(expr, other) for other in classes):
            classes.append(expr)
    kinds = [kind(expr) for expr in classes]
    assert found.distinct == len(classes)
    assert found.constant == kinds.count("constant")
    assert found.affine == kinds.count("affine")
    assert found.undefined == kinds.count("undefined")
    assert [str(e) for e in found.worth_training] == [
        str(e) for e, k in zip(classes, kinds, strict=True) if k == "ordinary"
    ]
    assert found.counts()["expressions"] == 108
    assert "108 expressions" in str(found)


@pytest.mark.parametrize("name", ["exhaustive", "random"])
def test_strategies_resume_exactly(name):
    first = strategy(name, SMALL, seed=3)
    for _ in range(5):
        first.ask()
    second = strategy(name, SMALL, seed=3)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    assert [str(first.ask()) for _ in range(10)] == [str(second.ask()) for _ in range(10)]


def test_exhaustive_proposes_each_function_once():
    everything = strategy("exhaustive", SMALL, seed=0)
    asked = []
    while (expr := everything.ask()) is not None:
        asked.append(expr)
        everything.tell(expr, 0.5, 0.5)
    assert sorted(map(str, asked)) == sorted(map(str, census(SMALL).worth_training))
    assert [str(e) for e in asked] != [str(e) for e in census(SMALL).worth_training]


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="core-1"):
        space("core1")
    with pytest.raises(UnknownNameError, match="exhaustive"):
        strategy("grid", SMALL, 0)
