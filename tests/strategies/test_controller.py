"""The recurrent controller: its derivatives and its optimizer against torch, its draws against its own judgement."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from nonlin.strategies import Space, space
from nonlin.strategies.controller import Adam, Controller, pack, unpack_into
from nonlin.strategies.ppo import PPO, clipped_slope
from nonlin.testing.strategies import TINY

TEMPLATES = Space("t", TINY.unary, TINY.binary, templates=("u(x)", "b(x, u(x))"))
ONE_PLACE = Space("o", TINY.unary, TINY.binary, templates=("u(x)",))
SPACES = {"one shape": TINY, "two shapes": TEMPLATES, "two units": space("core-2-free"), "one place": ONE_PLACE}


def made(where, seed=0, hidden=6):
    """A controller in double precision, away from uniform, with twelve codes."""
    generator = np.random.default_rng(seed)
    controller = Controller(where, hidden, generator, np.float64)
    controller.weights *= 6
    return controller, [where.sample_code(generator) for _ in range(12)], generator


def by_torch(controller, codes):
    """Weights that require gradients, and log-probabilities and entropies computed with torch's own GRU cell."""
    weights = {name: torch.tensor(part, requires_grad=True) for name, part in controller.parts.items()}
    size = (len(codes), max(map(len, codes)))
    logs, entropies = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for row, code in enumerate(codes):
        given, state = weights["embed"][-1:], torch.zeros(1, controller.hidden, dtype=torch.float64)
        for place, (slot, choice) in enumerate(zip(controller.space.slots(code[:1]), code, strict=True)):
            first = controller.first[f"input{slot.count}" if slot.kind == "input" else slot.kind]
            mine = slice(first, first + slot.count)
            gates = (weights["input"], weights["state"], weights["input bias"], weights["state bias"])
            state = torch.gru_cell(given, state, *gates)
            spread = functional.log_softmax(functional.linear(state, weights["output"][mine], weights["bias"][mine]), 1)
            logs[row, place], entropies[row, place] = spread[0, choice], -(spread.exp() * spread).sum()
            given = weights["embed"][first + choice][None]
    return weights, logs, entropies


@pytest.mark.parametrize("name", list(SPACES))
def test_values_and_derivatives_are_those_of_torch(name):
    controller, codes, generator = made(SPACES[name])
    judged = controller.judge(controller.layout(codes))
    weights, logs, entropies = by_torch(controller, codes)
    np.testing.assert_allclose(judged.logs, logs.detach(), atol=1e-12)
    np.testing.assert_allclose(judged.entropies, entropies.detach(), atol=1e-12)
    assert judged.mask.sum() == sum(map(len, codes))
    by_log, by_entropy = (generator.normal(size=judged.logs.shape) * judged.mask for _ in range(2))
    (torch.tensor(by_log) * logs + torch.tensor(by_entropy) * entropies).sum().backward()
    slopes = controller.split(controller.slope(judged, by_log, by_entropy))
    for key, weight in weights.items():
        np.testing.assert_allclose(slopes[key], 0 if weight.grad is None else weight.grad, atol=1e-11, err_msg=key)


def test_the_optimizer_is_adam():
    generator = np.random.default_rng(0)
    ours = generator.normal(size=50)
    theirs = torch.tensor(ours, requires_grad=True)
    adam, reference = Adam(ours, 0.03), torch.optim.Adam([theirs], lr=0.03, maximize=True)
    for size in (0.01, 1.0, 5.0, 0.3):
        slope = size * generator.normal(size=50)
        adam.climb(slope)
        theirs.grad = torch.tensor(slope / max(1.0, np.linalg.norm(slope)))
        reference.step()
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-10)


@pytest.mark.parametrize("advantage", [-1.3, 0.7])
@pytest.mark.parametrize("ratio", [0.5, 0.79, 0.9, 1.0, 1.1, 1.21, 2.0])
def test_the_clipped_slope_is_that_of_the_objective(ratio, advantage):
    """Against a finite difference of equation 7 of Schulman et al. (2017)."""
    objective = lambda log: min(math.exp(log) * advantage, min(max(math.exp(log), 0.8), 1.2) * advantage)  # noqa: E731
    step = 1e-6
    expected = (objective(math.log(ratio) + step) - objective(math.log(ratio) - step)) / (2 * step)
    assert clipped_slope(np.array(ratio), np.array(advantage), 0.2) == pytest.approx(expected, abs=1e-6)


def test_packing_keeps_every_bit():
    vector = np.random.default_rng(0).normal(size=30).astype(np.float32)
    again = np.zeros_like(vector)
    unpack_into(again, pack(vector))
    assert (again == vector).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppo_learns_what_is_rewarded(seed):
    """Reward for products only: at first one code in ten, and all answers equal until the first product comes."""
    from nonlin.strategies.functions import BINARY

    where = space("core-1")
    strategy = PPO(where, seed=seed)
    product = BINARY.index("a*b")
    codes = [where.code(number) for number in range(where.size)]
    layout, products = strategy.controller.layout(codes), [code[0] == product for code in codes]
    share = lambda: np.exp(strategy.controller.judge(layout).logs.sum(axis=1))[products].sum()  # noqa: E731
    before = share()
    for _ in range(60):
        expr = strategy.ask()
        good = strategy.memory.codes[-1][0] == product
        strategy.tell(expr, float(good), 0.0 if good else 1.0)
    assert before < 0.2
    assert share() > 0.6


def test_the_baseline_is_a_moving_average():
    strategy = PPO(TINY, seed=0, batch=2, decay=0.75)
    for loss in (1.0, 0.0, 0.5, 0.25):
        strategy.tell(strategy.ask(), 0.0, loss)
    # merits: 3/4 the rank by loss and 1/4 that by score (all tied: 1/2); of two answers and of four
    first = np.mean(np.array([0.125, 0.875]) ** 2)
    second = np.mean((0.75 * np.array([1 / 3, 2 / 3]) + 0.125) ** 2)
    assert strategy.baseline == pytest.approx(0.75 * first + 0.25 * second)
