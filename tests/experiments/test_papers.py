"""The experiments as data: whole, known to the rest of the library, and what the papers say."""

from dataclasses import replace

import pytest

import nonlin as nl
from nonlin.errors import NonlinError, UnknownNameError
from nonlin.experiments.cells import cell_task
from nonlin.experiments.papers import Figure, experiment, experiments
from nonlin.tasks import TASKS

FIVE = ("swish-table1", "swish-cifar", "crrelu-vit", "crrelu-dpo", "relu-to-gelu")


def test_the_five_are_there():
    assert set(FIVE) < set(experiments())


@pytest.mark.parametrize("name", list(experiments()))
def test_every_part_is_known(name):
    found = experiment(name)
    functions = [nl.activation(one) for one in found.functions]
    for index, one in enumerate(functions):  # nothing is trained twice
        assert not any(one.same_as(other) for other in functions[:index] if other.parameters == one.parameters)
    assert set(found.pair) <= set(found.functions)
    assert found.paper
    assert found.ours
    assert len({cell.name for cell in found.cells}) == len(found.cells)
    for cell in found.cells:
        assert cell.task in TASKS
        assert cell_task(cell).name == cell.name
        for figure in cell.figures:
            assert bool(figure.published) == bool(figure.source)


def published(name, task, function):
    found = experiment(name)
    cell = next(cell for cell in found.cells if cell.name == task)
    return dict(zip(found.functions, cell.figures[0].published, strict=True))[function]


@pytest.mark.parametrize(
    ("name", "task", "function", "value"),
    [
        ("swish-table1", "cifar10-resnet164", "swish", 94.5),
        ("swish-table1", "cifar100-densenet100x12", "min(x, sin(x))", 74.3),
        ("swish-table1", "cifar100-resnet164", "x*asinh(x)**2", 52.8),
        ("swish-cifar", "cifar10-wrn28x10", "leaky_relu", 95.6),
        ("swish-cifar", "cifar100-resnet164", "softplus", 76.0),
        ("swish-cifar", "cifar100-densenet100x12", "silu", 83.8),
        ("swish-imagenet", "imagenet-inception_resnet_v2", "silu", 80.3),
        ("swish-imagenet", "imagenet-mobilenetv1_100", "relu", 72.0),
        ("swish-wmt14", "wmt14-transformer", "softplus", 23.6),
    ],
)
def test_figures_of_the_swish_paper(name, task, function, value):
    assert published(name, task, function) == value


def test_what_two_tables_say_of_one_thing_agrees():
    """ReLU and Swish stand in tables 1 and 2 and in 4 and 5; Swish on DenseNet differs in the paper itself by 0.1."""
    for cell in experiment("swish-table1").cells:
        assert published("swish-table1", cell.name, "relu") == published("swish-cifar", cell.name, "relu")
        difference = published("swish-table1", cell.name, "swish") - published("swish-cifar", cell.name, "swish")
        assert abs(difference) < 0.11
    top = published("swish-imagenet", "imagenet-inception_resnet_v2", "swish")
    assert top - published("swish-imagenet", "imagenet-inception_resnet_v2", "relu") == pytest.approx(0.6)  # abstract


def test_what_a_cell_changes():
    shp = next(cell for cell in experiment("crrelu-dpo").cells if cell.beta == 0.5)
    assert cell_task(shp).build.beta == 0.5
    translation = cell_task(experiment("swish-wmt14").cells[0])
    assert translation.budget.steps == 300_000
    assert translation.budget.epochs * 4_500_000 / translation.budget.batch_size > 300_000
    assert cell_task(experiment("relu-to-gelu").cells[0], "bfloat16").budget.precision == "bfloat16"


def test_chosen():
    found = experiment("crrelu-dpo")
    assert len(found.chosen(["gpt2-dpo-hh"])) == 3
    assert [cell.beta for cell in found.chosen(["gpt2-dpo-hh:beta=0.2"])] == [0.2]
    assert found.chosen(None) == found.chosen([]) == found.cells
    with pytest.raises(UnknownNameError, match=r"unknown task of crrelu-dpo 'gpt2-dpo-shq'. Did you mean 'gpt2-dpo-sh"):
        found.chosen(["gpt2-dpo-shq"])


def test_unknown():
    with pytest.raises(UnknownNameError, match=r"unknown experiment 'swish-cifra'\. Did you mean 'swish-cifar'"):
        nl.reproduce("swish-cifra")


def test_a_figure_too_few_is_found():
    found = experiment("swish-cifar")
    cell = replace(found.cells[0], figures=(Figure("accuracy", "somewhere", (1.0, 2.0)),))
    with pytest.raises(NonlinError, match="2 published figures, expected one for each of 9"):
        replace(found, cells=(cell,))
