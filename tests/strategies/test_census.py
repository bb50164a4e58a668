"""What a space holds: counted where it is small, estimated where it is large."""

import pytest

from nonlin.expr.identity import kind, same_function
from nonlin.strategies import census, count, estimate, listable, space
from nonlin.strategies.spaces import Space

SMALL = Space("small", ("a", "-a", "beta*a", "sin(a)", "max(a, 0)", "beta"), ("a + b", "a*b", "exp(-beta*(a - b)**2)"))


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


def test_large_spaces_are_estimated():
    assert listable(space("core-1"))
    for name in ("core-2", "core-3", "surrogate-paper"):
        assert not listable(space(name))
    found = count(space("core-2"))
    assert found.counts()["expressions"] == 39_062_500
    assert "39,062,500 expressions, too many to list; of 200 drawn at random" in str(found)


def test_the_estimate_covers_the_truth():
    """On a space that can be listed, the intervals must hold the true shares."""
    guess = estimate(SMALL, sample=300, seed=1)
    kinds = [kind(expr) for expr in SMALL]
    for name in ("constant", "affine", "undefined", "ordinary"):
        low, high = guess.interval(getattr(guess, name))
        assert low <= kinds.count(name) / len(kinds) <= high
    assert guess.repeated >= 300 - census(SMALL).distinct


@pytest.mark.parametrize(("seen", "low", "high"), [(0, 0.0, 0.0370), (50, 0.4038, 0.5962), (100, 0.9630, 1.0)])
def test_wilson_interval(seen, low, high):
    guess = estimate(SMALL, sample=100, seed=0)
    assert guess.interval(seen) == pytest.approx((low, high), abs=1e-4)
