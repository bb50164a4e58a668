"""`swap`: what is found and replaced, that the results are the new function's, and that all can be undone."""

import copy
import io
import pickle
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule
from nonlin.nn import Adaptive, Blend, finish_blends

torch.set_num_threads(1)


def silu_with_tanh(x):
    """An independent form of swish(x)."""
    return x * 0.5 * (1 + torch.tanh(x / 2))


class Functional(nn.Module):
    """Calls in all the spellings, with control flow that no trace can keep."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)

    def forward(self, x, mask=None):
        x = F.relu(self.first(x), inplace=True)
        x = F.dropout(x, 0.5, self.training)
        if mask is not None:
            x = x * mask
        x = self.second(x).relu() + torch.relu(input=x)
        return self.tail(x)

    def tail(self, x):
        return torch.sigmoid(self.last(F.leaky_relu(x, 0.2)))

    def by_hand(self, x, act, mask=None):
        x = act(self.first(x))
        x = x if mask is None else x * mask
        return torch.sigmoid(self.last(act(act(self.second(x)) + act(x))))


class Child(Functional):
    def forward(self, x, mask=None):
        if x.dim() == 1:
            x = x[None]
        return super().forward(F.relu(x), mask)


def helper(x):
    return F.relu(x)


class Outside(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.act = nn.ReLU()

    def forward(self, x):
        return helper(self.act(self.layer(x)))


class Untraceable(Outside):
    def forward(self, x):
        return helper(self.act(self.layer(x))) if float(x.sum()) < 1e9 else x


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(96, 5), nn.Tanh()
    )


IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


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


# Functional uses


def test_functional_uses_and_control_flow():
    torch.manual_seed(0)
    model = Functional().eval()
    x, mask = torch.randn(5, 4), torch.tensor([0.0, 1, 1, 0, 1, 1])
    names = nl.swap(model, "silu")
    assert names == ["relu_1", "relu_2", "relu_3", "leaky_relu_1"]
    assert not names.skipped or "not looked for" in names.skipped[0].reason
    for given in (None, mask):
        torch.testing.assert_close(model(x, given), model.by_hand(x, silu_with_tanh, given))
    model.train()
    assert not torch.equal(model(x), model(x))  # dropout is still dropout
    assert isinstance(model, Functional)


def test_functional_uses_each_with_their_own_channels():
    model = Functional()
    names = nl.swap(model, "prelu", per="channel", example=torch.zeros(2, 4))
    assert {model.get_submodule(name).channels for name in names} == {6}
    assert len({id(model.get_submodule(name)) for name in names}) == 4


def test_functional_uses_can_be_left_alone():
    with pytest.raises(NonlinError, match="no ReLU"):
        nl.swap(Functional(), "silu", functional=False)


def test_super_and_inherited_methods():
    model = Child().eval()
    names = nl.swap(model, "silu", example=torch.zeros(2, 4))
    # forward and tail are reached; the parent's forward, hidden by super(), is reported with its line
    assert names == ["relu_1", "leaky_relu_1"]
    assert any("test_swap.py" in str(one) for one in names.skipped)
    assert model(torch.zeros(4)).shape == (1, 3)


@pytest.mark.parametrize(
    ("kind", "example"), [(Outside, None), (Outside, torch.zeros(2, 3)), (Untraceable, torch.zeros(2, 3))]
)
def test_what_stays_is_reported_with_its_line(kind, example):
    report = nl.swap(kind(), "silu", example=example)
    assert report == ["act"]
    (one,) = report.skipped
    assert "relu at" in one.what
    assert "test_swap.py" in one.what
    assert "in helper" in one.what
    assert "not replaced" in str(report)


def test_the_new_formula_may_contain_the_old_function(monkeypatch):
    monkeypatch.setattr("nonlin.native.direct.fits", lambda *_: False)
    assert nl.swap(network(), "crrelu", nn.ReLU, example=IMAGES).skipped == []


def test_a_model_that_cannot_be_traced_says_so():
    (one,) = nl.swap(Untraceable(), "silu").skipped
    assert "torch.fx cannot trace" in one.reason
    assert "example=" in one.reason


def test_a_result_in_place_is_not_lost():
    class InPlace(nn.Module):
        def forward(self, x):
            F.relu_(x)
            return F.relu(x)

    report = nl.swap(InPlace(), "silu")
    assert report == ["relu_1"]
    assert "in place" in report.skipped[0].reason


def test_graph_modules():
    model = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.Identity()))
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.relu, (graph.call_module("0", (x,)),)))
    model = torch.fx.GraphModule(model, graph)
    x = torch.randn(4, 3)
    before = model(x)
    report = nl.swap(model, "silu")
    assert report == ["relu_1"]
    torch.testing.assert_close(model(x), silu_with_tanh(model.get_submodule("0")(x)))
    report.undo()
    torch.testing.assert_close(model(x), before)


# Attributes that hold a function


@pytest.mark.parametrize("function", [F.relu, F.gelu, partial(F.leaky_relu, negative_slope=0.1)])
def test_transformer_layer_leaves_its_fast_path(function):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=function, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        old = layer(x)
        assert nl.swap(layer, "silu") == ["activation"]
        fast = layer(x)
        trained = layer.train()(x)
    assert not torch.allclose(old, fast)
    torch.testing.assert_close(fast, trained)
    reference = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=silu_with_tanh, batch_first=True)
    reference.load_state_dict(layer.state_dict())
    torch.testing.assert_close(fast, reference(x))


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_transformer_with_padding_and_undo():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    x, padding = torch.randn(2, 5, 8), torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]).bool()
    with torch.no_grad():
        old = model(x, src_key_padding_mask=padding)
        report = nl.swap(model, "silu")
        assert report == ["layers.0.activation", "layers.1.activation"]
        kept = ~padding
        in_eval = model(x, src_key_padding_mask=padding)[kept]
        in_train = model.train()(x, src_key_padding_mask=padding)[kept]
        torch.testing.assert_close(in_eval, in_train)
        report.undo()
        torch.testing.assert_close(model.eval()(x, src_key_padding_mask=padding)[kept], old[kept])
    assert model.layers[0].activation is F.relu
    assert model.layers[0].activation_relu_or_gelu == 1


def test_fused_kernels_are_reported():
    model = nn.ModuleDict({"rnn": nn.RNN(3, 3, nonlinearity="relu"), "act": nn.ReLU()})
    report = nl.swap(model, "silu")
    assert report == ["act"]
    assert report.skipped[0].name == "rnn"


# Undo, scale, blend


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
