"""Which tasks' children begin with the same weights: those whose `build` neither asks for the function nor shows it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.tasks import task
from nonlin.train.probing import common_model

DIGITS = task("digits-mlp")


def plain(act):
    return nn.Sequential(nn.Linear(64, 16), act(16), nn.Linear(16, 10))


def asks_the_factory(act):
    return plain(act) if act.activation.name != "softsign" else None


def asks_the_module(act):
    model = plain(act)
    if "softsign" in repr(model):
        nn.init.zeros_(model[0].weight)
    return model


def computes_with_it(act):
    model = plain(act)
    with torch.no_grad():
        model[2].weight.div_(model[1](torch.linspace(-3, 3, 16)).std())
    return model


def draws_for_its_parameters(act):
    model = plain(act)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def changes_its_parameters(act):
    model = plain(act)
    for parameter in model[1].parameters():
        nn.init.constant_(parameter, 0.5)
    return model


def fails_for_sines(act):
    model = plain(act)
    if float(nn.Module.__call__(model[1], torch.ones(1, 16)).max()) < 0.9:
        raise ValueError("no sines, please")
    return model


def initialises_as_many_do(act):
    model = plain(act)
    for part in model.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
        elif hasattr(part, "weight"):
            nn.init.ones_(part.weight)
    return model.apply(lambda part: None)


@pytest.mark.parametrize("build", [plain, initialises_as_many_do, DIGITS.build])
@pytest.mark.parametrize("per", ["channel", "tensor"])
def test_ordinary_models_have_common_weights(build, per):
    own = replace(DIGITS, build=build)
    found = common_model(own, 3, per, "common")
    torch.manual_seed(3)
    expected = own.model(nl.tasks.Factory(nl.activation("tanh"), per)).state_dict()
    weights = found.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert type(found[1]) is type(nl.activation("relu").module())


@pytest.mark.parametrize(
    "build",
    [
        asks_the_factory,
        asks_the_module,
        computes_with_it,
        draws_for_its_parameters,
        changes_its_parameters,
        fails_for_sines,
    ],
)
def test_others_are_found_out(build):
    assert common_model(replace(DIGITS, build=build), 0, "channel", "common") is None


def test_random_numbers_are_left_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    common_model(DIGITS, 0, "channel", "common")
    assert torch.equal(torch.rand(3), expected)
