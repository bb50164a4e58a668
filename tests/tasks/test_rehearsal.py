"""What is looked at before anything is trained: the model's identity, widths and outputs."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.errors import TaskError
from nonlin.tasks.digest import model_digest
from nonlin.tasks.rehearsal import reference_model, rehearse

X = np.random.default_rng(0).normal(size=(90, 4))
Y = np.arange(90) % 3


def task(build, y=Y):
    return nl.Task("mine", build, lambda: nl.Data.from_arrays(X, y))


def mlp(width=8, outputs=3, given=None, dropout=0.1):
    return lambda act: nn.Sequential(
        nn.Linear(4, width), act(given or width), nn.Dropout(dropout), nn.Linear(width, outputs)
    )


def digest(build):
    return model_digest(reference_model(task(build)))


def test_the_digest_is_that_of_the_structure_and_not_of_the_weights():
    assert digest(mlp()) == digest(mlp())
    changed = [mlp(16), mlp(dropout=0.2), mlp(outputs=4), lambda act: nn.Sequential(mlp()(act), nn.ReLU())]
    assert len({digest(mlp()), *map(digest, changed)}) == 5


def test_a_function_without_a_width_is_another_model():
    assert digest(lambda act: nn.Sequential(nn.Linear(4, 8), act(8))) != digest(
        lambda act: nn.Sequential(nn.Linear(4, 8), act())
    )


def test_an_address_in_what_a_module_prints_does_not_count():
    class Printed(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def extra_repr(self):
            return repr(self.function)

    keep = [lambda: 0, lambda: 0]
    first, second = (nn.Sequential(nn.Linear(2, 2), Printed(one)) for one in keep)
    assert repr(first) != repr(second)
    assert model_digest(first) == model_digest(second)


def test_random_generators_are_left_as_they_were():
    def build(act):
        np.random.rand()  # noqa: NPY002
        random.random()
        return mlp()(act)

    mine = task(build)
    mine.load()  # what that draws is the data's own business
    before = torch.get_rng_state(), np.random.get_state()[1:], random.getstate()  # noqa: NPY002
    rehearse(mine, reference_model(mine))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state()[1:], before[1], strict=True))  # noqa: NPY002
    assert random.getstate() == before[2]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (mlp(16, given=17), r"mine: build calls activation\(17\) where 16 features arrive .* Call activation\(16\)"),
        (mlp(outputs=2), "mine: the model has 2 outputs for 3 classes"),
        (
            lambda act: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Linear(2, 8), act(8), nn.Flatten(), nn.Linear(16, 3)),
            r"Call activation\(8, dim=-1\)",
        ),
        (
            lambda act: nn.Sequential(nn.Linear(4, 3), act(3, dim=2)),
            r"shape \(2, 3\) and no such dimension",
        ),
    ],
    ids=["width", "outputs", "dimension", "no-dimension"],
)
def test_a_misfit_is_told_before_training(build, message):
    mine = task(build)
    with pytest.raises(TaskError, match=message):
        rehearse(mine, reference_model(mine))
    with pytest.raises(TaskError, match=message):
        nl.search(mine, budget=1)
    with pytest.raises(TaskError, match=message):
        nl.compare(["swish"], mine, seeds=1)


def test_widths_do_not_matter_to_functions_without_parameters_per_channel():
    mine = task(mlp(16, given=17))
    rehearse(mine, reference_model(mine), widths=False)


def test_a_fault_of_another_kind_is_left_to_the_training():
    mine = task(lambda act: nn.Sequential(nn.Linear(5, 8), act(8), nn.Linear(8, 3)))
    rehearse(mine, reference_model(mine))
