"""Strategies: each keeps the contract, and each learns what it is there to learn."""

import json
import math
import zlib

import numpy as np
import pytest

import nonlin as nl
from nonlin.errors import SearchError, UnknownNameError
from nonlin.expr import parse
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.strategies import STRATEGIES, census, space, strategy
from nonlin.strategies.listing import shuffled
from nonlin.testing.strategies import TINY

LEARNING = ("evolution", "ppo", "surrogate", "entropy")
CORE = space("core-1")


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_the_contract(name):
    nl.testing.check_strategy(name)


def test_exhaustive_proposes_each_function_once():
    everything = strategy("exhaustive", TINY, seed=0)
    asked = []
    while (expr := everything.ask()) is not None:
        asked.append(expr)
        everything.tell(expr, 0.5, 0.5)
    assert sorted(map(str, asked)) == sorted(map(str, census(TINY).worth_training))
    assert [str(e) for e in asked] != [str(e) for e in census(TINY).worth_training]


@pytest.mark.parametrize("count", [1, 2, 7, 256, 1000])
def test_the_unstored_order_is_a_permutation(count):
    order = [shuffled(position, count, seed=3) for position in range(count)]
    assert sorted(order) == list(range(count))
    if count >= 256:
        assert order != list(range(count))
        assert order != [shuffled(position, count, seed=4) for position in range(count)]
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.15


def test_exhaustive_goes_through_large_spaces_without_repeating():
    large = space("core-3")
    everything = strategy("exhaustive", large, seed=1)
    texts = [str(everything.ask()) for _ in range(50)]
    assert len(set(texts)) >= 48  # 50 codes; two of them may be written alike


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("where", ["core-3", "surrogate-paper"])
def test_large_spaces(name, where):
    made, index = strategy(name, space(where), seed=0), IdentityIndex()
    good = 0
    for _ in range(25):
        expr = made.ask()
        good += kind(expr) == "ordinary" and index.add(expr)[1]
        made.tell(expr, math.cos(len(str(expr))), len(str(expr)) / 100)
    assert good >= 22  # next to nothing is wasted on what is known, constant, straight or not finite
    assert len(json.dumps(made.state_dict())) < 500_000


def closeness(wanted):
    """An outcome that grows as a function's outputs approach those of `wanted` at x = -2 ... 2.

    Up to sign, mirror and size, which make no difference to a network whose weights are drawn symmetrically.
    """
    import torch

    from nonlin.expr import substitute
    from nonlin.expr.codegen import compile_kernel

    x = torch.linspace(-2, 2, 21, dtype=torch.float64)

    def values(expr):
        fixed = substitute(expr, dict.fromkeys(expr.parameters, 1.0))
        y = torch.nan_to_num(compile_kernel((fixed,), ())(x)[0], nan=0.0, posinf=1e3, neginf=-1e3).expand(len(x))
        return y / y.square().mean().sqrt().clamp(min=1e-9)

    target = values(parse(wanted))

    def outcome(expr):
        forms = [sign * y for y in (values(expr), values(expr).flip(0)) for sign in (1, -1)]
        away = min(float((y - target).square().mean()) for y in forms)
        return -away, away

    return outcome


def best_after(name, budget, seed, outcome):
    made = strategy(name, CORE, seed)
    index, best, trained = IdentityIndex(), math.inf, 0
    while trained < budget:
        expr = made.ask()
        score, loss = outcome(expr)
        if kind(expr) != "ordinary":
            score = loss = math.nan
        elif index.add(expr)[1]:
            trained, best = trained + 1, min(best, loss)
        made.tell(expr, score, loss)
    return best


@pytest.mark.parametrize(("name", "budget"), [("evolution", 80), ("surrogate", 30)])
def test_learning_beats_chance(name, budget):
    """To come near a given function, a learning strategy must need fewer tries than random draws do."""
    outcome = closeness("x*sigmoid(x)")
    learnt = [best_after(name, budget, seed, outcome) for seed in range(2)]
    chance = [best_after("random", budget, seed, outcome) for seed in range(2)]
    assert np.mean(learnt) < np.mean(chance)


def test_a_surrogate_uses_what_is_not_in_the_space():
    """The well-known functions that a search trains first are told, and most are written in another way."""
    told, untold = (strategy("surrogate", CORE, seed=0) for _ in range(2))
    assert parse("x*Phi(x)") not in CORE
    for text, loss in (("x*Phi(x)", 0.1), ("tanh(x)", 0.5), ("where(x > 0, x, expm1(x))", 0.2), ("1/(1 + x**2)", 0.9)):
        told.tell(parse(text), 1 - loss, loss)
    assert len(told.memory.strangers) == 4
    assert [str(told.ask()) for _ in range(8)] != [str(untold.ask()) for _ in range(8)]
    again = strategy("surrogate", CORE, seed=0)
    again.load_state_dict(json.loads(json.dumps(told.state_dict())))
    assert again.memory.strangers == told.memory.strangers


@pytest.mark.parametrize("name", ["surrogate", "ppo"])
def test_a_long_search_resumes_exactly(name):
    """Also where observations were chosen anew (after 400), with answers out and some told late."""
    made, out = strategy(name, CORE, seed=0), []

    def step(some, out):
        expr = some.ask()
        out.append(expr)
        if len(out) > 16:
            late = out.pop(0)
            number = len(str(late))
            some.tell(late, math.cos(number), number / 100 + math.sin(31 * number))
        return str(expr)

    for _ in range(530):
        step(made, out)
    again, others = strategy(name, CORE, seed=0), list(out)
    again.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert [step(made, out) for _ in range(60)] == [step(again, others) for _ in range(60)]


# The entropy direction


@pytest.mark.parametrize("cut", [40, 75, 110])
@pytest.mark.parametrize("name", LEARNING)
def test_a_search_of_a_large_space_resumes_exactly(name, cut):
    """What was looked at before leaves no trace: of equal functions it is never the one that was seen first."""
    large = space("core-2")

    def asked(one, count, out):
        found = []
        for _ in range(count):
            out = [*out, one.ask()]
            found.append(str(out[-1]))
            if len(out) == 16:
                quality = np.random.default_rng(zlib.crc32(str(out[0]).encode())).random(2)
                one.tell(out[0], *map(float, quality))
                out = out[1:]
        return found, out

    for seed in range(3):
        one, other = strategy(name, large, seed), strategy(name, large, seed)
        _, out = asked(one, cut, [])
        other.load_state_dict(json.loads(json.dumps(one.state_dict())))
        assert asked(other, 60, out)[0] == asked(one, 60, out)[0]


@pytest.mark.parametrize(
    ("formula", "agreement"),
    [
        ("tanh(x)", 0.9999),
        ("x*sigmoid(x)", 0.995),
        ("sin(x)", 0.995),
        ("max(x, 0)", 0.99),
        ("x**3", 0.99),
        ("x*Phi(x)", 0.995),
    ],
)
def test_the_quick_direction_is_the_exact_one(formula, agreement):
    from nonlin.strategies.entropic import FINE, LARGEST_STEP, entropy_direction, finer
    from nonlin.strategies.sketch import LEVELS

    exact = nl.entropy.correction(formula, "normal", "scale-free", smoothing=0.1)(FINE)
    exact = np.clip(exact / exact.std(), -LARGEST_STEP, LARGEST_STEP)
    function = nl.activation(formula)
    assert np.corrcoef(entropy_direction(function(FINE)), exact)[0, 1] > agreement
    # from what a sketch has of it, a little less so
    assert np.corrcoef(entropy_direction(finer(function(LEVELS))), exact)[0, 1] > 0.98


def test_no_direction_without_outputs():
    from nonlin.strategies.entropic import FINE, entropy_direction

    assert entropy_direction(np.zeros(len(FINE))) is None
    assert entropy_direction(np.full(len(FINE), np.nan)) is None


# Names and classes


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="exhaustive"):
        strategy("grid", TINY, 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (3, "a name or a callable"),
        (dict, "takes \\(space, seed\\)"),
        (lambda space: None, "takes \\(space, seed\\)"),
        (lambda space, seed: object(), "has no ask, tell, state_dict, load_state_dict"),
    ],
)
def test_what_is_no_strategy(bad, message):
    with pytest.raises(SearchError, match=message):
        strategy(bad, TINY, 0)
    with pytest.raises(SearchError, match="pass its class, not an instance"):
        strategy(strategy("random", TINY, 0), TINY, 0)
