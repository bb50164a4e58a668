"""Which functions are like each other, and that what is learned of one is learned of those like it."""

import numpy as np
import pytest

from nonlin.strategies import space
from nonlin.strategies.controller import Controller
from nonlin.strategies.functions import UNARY
from nonlin.strategies.likeness import likeness, sharing

CORE = space("core-1")


def test_alike_by_what_they_compute():
    functions = CORE.shapes[0].functions
    for kind in ("unary", "binary"):
        found = likeness(functions[kind])
        np.testing.assert_allclose(np.diag(found), 1)
        np.testing.assert_allclose(found, found.T)
        assert np.linalg.eigvalsh(found).min() > -1e-12
    of = lambda left, right: likeness(functions["unary"])[UNARY.index(left), UNARY.index(right)]  # noqa: E731
    assert of("a", "beta*a") == pytest.approx(1)
    assert of("tanh(a)", "atan(a)") > 0.9
    assert of("tanh(a)", "cosh(a)") < 0.1
    assert of("a", "-a") < 0.1


def test_sharing_is_the_root_of_a_mixture():
    functions = CORE.shapes[0].functions["unary"]
    root = sharing(functions, 0.7)
    np.testing.assert_allclose(root @ root, 0.3 * np.eye(len(functions)) + 0.7 * likeness(functions), atol=1e-12)


def test_the_slope_with_sharing_is_that_of_finite_differences():
    generator = np.random.default_rng(0)
    controller = Controller(CORE, 4, generator, np.float64, share=0.8)
    controller.weights *= 6
    codes = [CORE.sample_code(generator) for _ in range(5)]
    layout = controller.layout(codes)
    by_log, by_entropy = generator.normal(size=(2, 5, 3))

    def value():
        judged = controller.judge(layout)
        return float((by_log * judged.logs).sum() + (by_entropy * judged.entropies).sum())

    slope = controller.slope(controller.judge(layout), by_log, by_entropy).copy()
    for place in generator.integers(len(slope), size=60):
        before, step = controller.weights[place], 1e-5
        controller.weights[place] = before + step
        above = value()
        controller.weights[place] = before - step
        below = value()
        controller.weights[place] = before
        assert slope[place] == pytest.approx((above - below) / (2 * step), abs=1e-7)


def test_what_is_learned_of_tanh_is_learned_of_atan():
    generator = np.random.default_rng(0)
    tanh, atan, cosh = (UNARY.index(f"{name}(a)") for name in ("tanh", "atan", "cosh"))
    for share, grows in ((0.9, True), (0.0, False)):
        controller = Controller(CORE, 8, generator, share=share)
        layout = controller.layout([(0, tanh, 0), (0, atan, 0), (0, cosh, 0)])
        before = controller.judge(layout)
        by_log = np.zeros((3, 3))
        by_log[0, 1] = 1.0  # the choice of tanh alone
        controller.weights += controller.slope(before, by_log, np.zeros((3, 3)))
        change = (controller.judge(layout).logs - before.logs)[:, 1]
        assert change[0] > 0.1
        assert (change[1] > 0.5 * change[0]) == grows
        assert change[2] < 0.1 * change[0]
