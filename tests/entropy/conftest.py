"""What the entropy tests share: one torch thread, the densities, and a discrete stand-in for X."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nonlin.entropy import density
from nonlin.entropy.quadrature import nodes

SPECS = {
    "normal": ("normal", {}),
    "normal-moved": ("normal", {"loc": 0.7, "scale": 1.6}),
    "logistic": ("logistic", {}),
    "laplace": ("laplace", {"scale": 0.8}),
    "uniform": ("uniform", {"low": -2.0, "high": 3.0}),
    "student_t": ("student_t", {"df": 5}),
    "gumbel": ("gumbel", {}),
    "cauchy": ("cauchy", {}),
    "mixture": ("mixture", {"weights": [0.3, 0.7], "locs": [-2.0, 1.0], "scales": [0.5, 1.0]}),
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def densities():
    """Every density of the catalogue, by name."""
    return {name: density(spec, **parameters) for name, (spec, parameters) in SPECS.items()}


def discrete(source, tail=1e-9):
    """Nodes and weights that stand for X: quadrature over all but `tail` of the mass. Shape (n,) each."""
    edges = source.panels()
    low, high = source.quantile(np.array([tail, 1 - tail]))
    edges = np.unique(np.clip(edges, low, high))
    x, width = nodes(edges[:-1], edges[1:])
    mass = (width * source.pdf(x)).reshape(-1)
    return x.reshape(-1), mass / mass.sum()


@pytest.fixture(scope="session")
def stand_in():
    return discrete
