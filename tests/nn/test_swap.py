"""`swap`: which activations are found and replaced, with how many channels, and what is refused."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from swap_models import IMAGES, network, silu_with_tanh
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule

torch.set_num_threads(1)


def test_by_type_and_value():
    model = network()
    layers = list(model)
    names = nl.swap(model, "silu", replace=(nn.ReLU, nn.GELU))
    assert names == ["1", "3"]
    assert isinstance(names, list)
    x = silu_with_tanh(layers[0](IMAGES))
    expected = torch.tanh(layers[5](silu_with_tanh(layers[2](x)).flatten(1)))
    torch.testing.assert_close(model(IMAGES), expected)


@pytest.mark.parametrize(
    ("replace", "expected"),
    [
        (None, ["1", "3"]), (nn.ReLU, ["1"]), (F.gelu, ["3"]), ("Tanh", ["6"]), ((nn.ReLU, nn.Tanh), ["1", "6"]),
        ([torch.relu, "GELU"], ["1", "3"]),
    ],
)  # fmt: skip
def test_what_replace_takes(replace, expected):
    assert nl.swap(network(), "mish", replace) == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"names": "1"}, ["1"]), ({"names": re.compile(r"^[3-9]$")}, ["3"]), ({"index": 0}, ["1"]),
        ({"index": -1}, ["3"]), ({"index": [1, 0]}, ["1", "3"]), ({"index": slice(1, None)}, ["3"]),
        ({"names": ["1", "3"], "index": 1}, ["3"]),
    ],
)  # fmt: skip
def test_choosing_places(choice, expected):
    model = network()
    assert nl.swap(model, "mish", **choice) == expected
    assert [n for n, m in model.named_modules() if isinstance(m, ActivationModule)] == expected


def test_channels_are_seen_in_a_dry_run():
    model = network()
    before = copy.deepcopy(model.state_dict())
    names = nl.swap(model, "prelu", per="channel", example=IMAGES)
    assert [(model.get_submodule(n).channels, model.get_submodule(n).dim % 4) for n in names] == [(4, 1), (6, 1)]
    assert model.training
    assert all(torch.equal(before[key], model.state_dict()[key]) for key in before)
    x = model[0](IMAGES)
    torch.testing.assert_close(model[1](x), F.prelu(x, torch.full((4,), 0.25)))


@pytest.mark.parametrize(
    ("model", "example", "channels", "axis"),
    [
        (nn.Sequential(nn.Linear(3, 7), nn.ReLU()), torch.zeros(2, 5, 3), 7, 2),
        (nn.Sequential(nn.Conv1d(3, 7, 1), nn.ReLU()), torch.zeros(2, 3, 5), 7, 1),
        (nn.Sequential(nn.Conv1d(3, 7, 1), nn.BatchNorm1d(7), nn.ReLU()), torch.zeros(2, 3, 7), 7, 1),
        (nn.Sequential(nn.LayerNorm(3), nn.ReLU()), torch.zeros(2, 8, 8, 3), 3, 3),
        (nn.Sequential(nn.GroupNorm(1, 4), nn.ReLU()), torch.zeros(2, 4, 8, 8), 4, 1),
        (nn.Sequential(nn.Identity(), nn.ReLU()), torch.zeros(2, 9), 9, 1),
    ],
)
def test_the_dimension_of_the_channels(model, example, channels, axis):
    (name,) = nl.swap(model, "prelu", per="channel", example=example)
    layer = model.get_submodule(name)
    assert (layer.channels, layer.dim % example.dim()) == (channels, axis)
    model(example)


def test_shared_modules_stay_shared():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu)
    assert nl.swap(model, "swish") == ["1", "3"]
    assert model[1] is model[3]
    assert len(list(model[1].parameters())) == 1


def test_shared_modules_of_different_widths_part():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 5), relu, nn.Linear(5, 6), relu, nn.Linear(6, 5), relu)
    nl.swap(model, "swish", per="channel", example=torch.zeros(2, 4))
    assert model[1] is model[5]
    assert (model[1].channels, model[3].channels) == (5, 6)


def test_one_module_on_two_widths_is_refused_and_nothing_changes():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.act = nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU()

        def forward(self, x):
            return self.act(self.b(self.act(self.a(x))))

    model = Twice()
    with pytest.raises(NonlinError, match="act is used on 4 and 5 channels"):
        nl.swap(model, "swish", per="channel", example=torch.zeros(2, 3))
    assert isinstance(model.act, nn.ReLU)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": "encoder.*"}, r"names='encoder.\*'. Found: 0: 1, 1: 3"),
        ({"index": 7}, "index=7 is not one of 0 to 1"),
        ({"replace": nn.ELU}, "no ELU to replace. Its modules are: Conv2d"),
        ({"replace": 3}, "replace=3 is neither"),
        ({"per": "channel"}, "pass example="),
        ({"per": "layer"}, "per='layer'"),
        ({"rescale": True}, "pass example="),
        ({"blend": -1}, "blend=-1"),
        ({"blend": 5, "rescale": True}, "choose one"),
        ({"example": torch.zeros(1)}, "dry run of the model on example= failed"),
        ({"per": "channel", "example": torch.zeros(1)}, "dry run of the model on example= failed"),
    ],
)
def test_errors(arguments, message):
    model = network()
    with pytest.raises(NonlinError, match=message):
        nl.swap(model, "swish", **arguments)
    assert isinstance(model[1], nn.ReLU)


def test_more_errors():
    with pytest.raises(NonlinError, match="the model itself is the activation"):
        nl.swap(nn.ReLU(), "swish")
    with pytest.raises(NonlinError, match="works on a torch"):
        nl.swap("resnet", "swish")
    with pytest.raises(NonlinError, match="unknown activation"):
        nl.swap(network(), "swihs")
    with pytest.raises(NonlinError, match=r"no NoSuchLayer to replace. Its modules are: Conv2d.*Name what to replace"):
        nl.swap(network(), "swish", replace="NoSuchLayer")
    model = network()
    nl.swap(model, "swish")
    with pytest.raises(NonlinError, match="made by nonlin already: replace='ActivationModule'"):
        nl.swap(model, "mish")
    assert len(nl.swap(model, "mish", replace="ActivationModule")) == 2


def test_undo_out_of_order_changes_nothing():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    first = nl.swap(model, "swish")
    second = nl.swap(model, "mish", replace="ActivationModule")
    with pytest.raises(NonlinError, match="undo the later swap first"):
        first.undo()
    second.undo()
    first.undo()
    assert isinstance(model[1], nn.ReLU)


@pytest.mark.parametrize("given", [nn.GELU, lambda: nn.GELU()], ids=["class", "function"])
def test_what_makes_no_module_says_what_to_pass(given):
    with pytest.raises(NonlinError, match=r"Pass (an instance, GELU\(\)|a name, a formula or a module)"):
        nl.swap(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), given)


def test_blend_from_an_activation_that_overwrites_its_input():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    x = torch.randn(5, 2)
    before = model(x)
    nl.swap(model, "swish", blend=4)
    torch.testing.assert_close(model(x), before)
    model(x).sum().backward()
    expected = torch.autograd.grad(nn.Sequential(model[0], nn.ReLU(), model[2])(x).sum(), model[0].weight)[0]
    torch.testing.assert_close(model[0].weight.grad, expected)
