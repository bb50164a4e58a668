"""Health cards, each made once for a file."""

import pytest
import torch

import nonlin as nl


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def card():
    """Cards by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = nl.health(name)
        return made[name]

    return get
