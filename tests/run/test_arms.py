"""What a comparison trains: functions given twice, labels, nulls."""

import pytest

import nonlin as nl
from nonlin.run.arms import NULLS, arms_of, twins


@pytest.mark.parametrize(
    ("given", "pairs"),
    [
        (["relu", "gelu", "relu"], [("relu", "relu")]),
        (["relu", "gelu", "(x + abs(x))/2"], [("relu", "(x + abs(x))/2")]),
        (["swish", nl.activation("swish", beta=2)], []),
        (["swish", nl.activation("swish", beta=1)], [("swish", "swish")]),
        (["x*sigmoid(beta*x)", "x*sigmoid(2*beta*x)"], []),
    ],
)
def test_what_is_given_twice_is_found(given, pairs):
    found = twins(map(nl.activation, given))
    assert [(one.name, other.name) for one, other in found] == pairs


def test_labels_differ_where_names_do_not():
    arms = arms_of(["swish", nl.activation("swish", beta=2), "swish"], protocols=False, nulls=False, seed=0)
    assert len({arm.label for arm in arms}) == 3
    assert [dict(arm.initial) for arm in arms] == [{"beta": 1.0}, {"beta": 2.0}, {"beta": 1.0}]


def test_a_null_that_is_given_is_no_null():
    arms = arms_of(["relu", "x"], protocols=False, nulls=True, seed=0)
    assert next(arm.label for arm in arms if arm.role == "null") == "constant"
    assert sum(arm.formula == "x" for arm in arms) == 1
    assert len([arm for arm in arms if arm.role == "null"]) == len(NULLS)
