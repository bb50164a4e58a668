"""Which functions a search may propose."""

import numpy as np
import pytest

import nonlin as nl
from nonlin.errors import SearchError
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.integrations.choices import distinct, drawn, key
from nonlin.strategies import Space

TINY = Space("tiny", ("a", "-a", "tanh(a)", "a**2"), ("a*b", "a + b"))


def test_equal_functions_are_one_choice():
    found = distinct(["relu", "max(x, 0)", "swish", "x*sigmoid(2*beta*x)", "silu", nl.activation("gelu")])
    assert list(found) == ["relu", "swish", "silu", "gelu"]


def test_two_functions_of_one_name_have_two_labels():
    one = nl.activation("relu")
    other = nl.zoo.Activation("relu", nl.activation("x**3").expr)
    assert len(distinct([one, other])) == 2


def test_drawn_functions_are_all_different_and_ordinary():
    found = drawn("core-3", 40, seed=1)
    index = IdentityIndex()
    assert all(index.add(act.expr)[1] for act in found)
    assert {kind(act.expr) for act in found} == {"ordinary"}
    assert [act.formula for act in found] == [act.formula for act in drawn("core-3", 40, seed=1)]
    assert [act.formula for act in found] != [act.formula for act in drawn("core-3", 40, seed=2)]


def test_all_of_a_small_space_is_what_brute_force_finds():
    kept = []
    x = np.linspace(-2.9, 2.7, 41)
    for expr in TINY:
        values = nl.activation(str(expr))(x)
        straight = np.allclose(np.diff(values, 2), 0, atol=1e-9)
        if not straight and not any(np.allclose(values, other) for other in kept):
            kept.append(values)
    assert len(drawn(TINY, None, 0)) == len(kept)


def test_a_key_is_one_for_equal_functions():
    assert key("x/(1 + exp(-x))") == key("x*sigmoid(x)") != key("x*sigmoid(beta*x)")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distinct("relu"), "must be a list"),
        (lambda: distinct([]), "choices is empty"),
        (lambda: drawn(TINY, 0, 0), "number must be"),
        (lambda: drawn(TINY, 10_000, 0), "functions worth training, not 10,000"),
        (lambda: drawn("core-3", None, 0), "say how many"),
    ],
    ids=["text", "empty", "zero", "many", "all"],
)
def test_bad_input(call, message):
    with pytest.raises(SearchError, match=message):
        call()
