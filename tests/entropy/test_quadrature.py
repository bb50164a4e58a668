"""Quadrature: known integrals, and an error estimate that covers the true error."""

from __future__ import annotations

import numpy as np
import pytest

from nonlin.entropy import density
from nonlin.entropy.quadrature import integrate


@pytest.mark.parametrize(
    ("function", "edges", "exact"),
    [
        (np.exp, [0.0, 1.0], np.e - 1),
        (lambda x: np.log(x), [0.0, 1.0], -1.0),
        (lambda x: np.abs(x - 0.3), [0.0, 1.0], 0.29),
        (lambda x: 1 / np.sqrt(x), [0.0, 1.0], 2.0),
        (lambda x: np.sin(50 * x) ** 2, [0.0, np.pi], np.pi / 2),
        (lambda x: (x > 0.1234).astype(float), [0.0, 1.0], 0.8766),
    ],
)
def test_known_integrals(function, edges, exact):
    result = integrate(function, np.array(edges), tolerance=1e-10)
    assert abs(result.value - exact) <= result.error + 1e-12
    assert result.error < 1e-6


def test_infinite_values_give_an_infinite_error():
    assert integrate(lambda x: 1 / np.maximum(x, 0.0), np.array([-1.0, 1.0])).error == np.inf


def test_moments_that_do_not_exist_are_infinite():
    assert density("cauchy").expect(np.abs).value == np.inf
    assert density("student_t", df=2).expect(np.square).value == np.inf
    moment = density("student_t", df=3).expect(np.square)
    assert abs(moment.value - 3) <= moment.error < 1e-3
