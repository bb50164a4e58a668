"""What becomes of a swapped model: undone, rescaled, blended, copied, saved, trained, compiled."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from swap_models import IMAGES, Functional, network, silu_with_tanh
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule
from nonlin.nn import Adaptive, Blend, finish_blends

torch.set_num_threads(1)


def test_undo():
    torch.manual_seed(0)
    for model, x in ((network(), IMAGES), (Functional().eval(), torch.randn(3, 4))):
        kind, before, keys = type(model), model(x), list(model.state_dict())
        report = nl.swap(model, "swish", rescale=True, example=x)
        assert report.scaled
        report.undo()
        assert type(model) is kind
        assert list(model.state_dict()) == keys
        torch.testing.assert_close(model(x), before)
        assert report == []


def test_rescale_is_the_ratio_of_gains():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = nl.swap(model, "tanh", rescale=True, example=IMAGES)
    assert list(report.scaled) == ["2", "5"]
    for name, old in (("2", "relu"), ("5", "gelu")):
        factor = nl.gain("tanh") / nl.gain(old)
        assert report.scaled[name] == pytest.approx(factor, rel=1e-5)
        torch.testing.assert_close(model.get_submodule(name).weight, before[f"{name}.weight"] * factor)
    torch.testing.assert_close(model[0].weight, before["0.weight"])


def test_blend_goes_from_old_to_new():
    model = nn.Sequential(nn.Linear(3, 3), nn.LeakyReLU(0.3))
    x = torch.randn(4, 3)
    nl.swap(model, "silu", blend=4)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    z = model[0](x).detach()
    old, new = F.leaky_relu(z, 0.3), silu_with_tanh(z)
    for step in range(6):
        weight = min(step / 4, 1)
        torch.testing.assert_close(model(x), (1 - weight) * old + weight * new)
        model(x).sum().backward()
        if step == 2:  # a copy, by pickle and by state dict, goes on from here
            clone = nn.Sequential(nn.Linear(3, 3), Blend(nn.LeakyReLU(0.3), nl.activation("silu").module(), 4))
            clone.load_state_dict(model.state_dict())
            for other in (clone, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
                torch.testing.assert_close(other(x), model(x))
        optimiser.step()
    assert model[1].finished
    assert finish_blends(model) == ["1"]
    assert isinstance(model[1], ActivationModule)


def test_blend_does_not_move_without_training():
    blend = Blend(nn.ReLU(), nn.Tanh(), 2)
    parameter = nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.SGD([parameter], lr=0.1)
    for _ in range(3):
        blend.eval()(torch.zeros(1))
        parameter.grad = torch.zeros(())
        optimiser.step()
    assert not blend.finished
    with pytest.raises(NonlinError, match="0 of 2 steps"):
        finish_blends(nn.Sequential(blend))
    blend.train()
    for _ in range(2):
        blend(torch.zeros(1))
        nl.nn.step(blend)
    assert blend.finished


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
def test_a_compiled_blend_moves_and_arrives():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    nl.swap(model, "silu", blend=2)
    compiled = torch.compile(model, backend="aot_eager")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    x = torch.randn(4, 3)
    z = model[0](x).detach()
    for weight in (0.0, 0.5, 1.0, 1.0):
        torch.testing.assert_close(compiled(x), (1 - weight) * F.relu(z) + weight * silu_with_tanh(z))
        compiled(x).sum().backward()
        optimiser.step()
    assert model[1].finished


def test_a_finished_blend_exports_as_the_new_function():
    model = nn.Sequential(Blend(nn.ReLU(), nn.Tanh(), 1))
    model(torch.zeros(1))
    nl.nn.step(model)
    graph = torch.export.export(model.eval(), (torch.randn(3),)).graph
    called = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert called == ["aten.tanh.default"]


def test_functional_calls_blend_with_their_own_arguments():
    model = Functional().eval()
    x = torch.randn(3, 4)
    before = model(x)
    nl.swap(model, "silu", blend=10)
    torch.testing.assert_close(model(x), before)


# The life of a swapped model


def test_modules_and_factories_as_the_new_activation():
    model = network()
    nl.swap(model, Adaptive("relu", mode="learned"))
    assert isinstance(model[1], Adaptive)
    assert model[1] is not model[3]
    model = network()
    make = lambda channels, dim: nl.activation("prelu").module("channel", channels, dim)  # noqa: E731
    nl.swap(model, make, per="channel", example=IMAGES)
    assert (model[1].channels, model[3].channels) == (4, 6)


@pytest.mark.parametrize("make", [network, Functional])
def test_copies_pickles_and_state_dicts(make):
    model = make().eval()
    x = IMAGES if make is network else torch.randn(3, 4)
    nl.swap(model, "swish", per="channel", example=x)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    expected = model(x)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    fresh = make().eval()
    nl.swap(fresh, "swish", per="channel", example=x)
    fresh.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False), fresh):
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
    nl.swap(model, "mish", replace=(ActivationModule, nn.Sigmoid))  # and it can be swapped once more
    assert not torch.equal(model(x), expected)


def test_training_changes_the_new_parameters():
    model = Functional()
    names = nl.swap(model, "swish", per="channel", example=torch.zeros(1, 4))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.randn(8, 4)).sum().backward()
    optimiser.step()
    assert all(bool((model.get_submodule(name).beta != 1).any()) for name in names)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
def test_compile_and_autocast():
    torch.manual_seed(0)
    model = Functional().eval()
    x = torch.randn(3, 4)
    nl.swap(model, "swish")
    expected = model(x)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(x).float(), expected, rtol=0.05, atol=0.05)


def test_dtype_follows_the_neighbours():
    model = network().double()
    nl.swap(model, "swish")
    assert model[1].beta.dtype == torch.float64


def test_activations_of_other_libraries():
    """A class as transformers defines it: no subclass of torch's, its own formula."""

    def forward(self, x):
        return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))

    kind = type("NewGELUActivation", (nn.Module,), {"forward": forward, "__module__": "transformers.activations"})
    other = type("ClassOfMine", (nn.Module,), {"forward": forward, "__module__": "mine"})
    assert nl.swap(nn.Sequential(kind(), other()), "silu") == ["0"]
    assert nl.swap(nn.Sequential(kind(), other()), "silu", replace="ClassOfMine") == ["1"]
    model, example = nn.Sequential(nn.Linear(3, 3), kind(), nn.Linear(3, 3)), torch.zeros(2, 3)
    report = nl.swap(model, "silu", rescale=True, example=example)  # a gain by quadrature of the module itself
    assert report.scaled["2"] == pytest.approx(nl.gain("silu") / nl.gain("gelu_tanh"), rel=1e-4)
