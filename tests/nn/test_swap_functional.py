"""`swap` where an activation is a call or an attribute: found in the traced code, replaced, or reported."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from swap_models import IMAGES, Child, Functional, Outside, Untraceable, network, silu_with_tanh
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError

torch.set_num_threads(1)


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
    assert any("swap_models.py" in str(one) for one in names.skipped)
    assert model(torch.zeros(4)).shape == (1, 3)


@pytest.mark.parametrize(
    ("kind", "example"), [(Outside, None), (Outside, torch.zeros(2, 3)), (Untraceable, torch.zeros(2, 3))]
)
def test_what_stays_is_reported_with_its_line(kind, example):
    report = nl.swap(kind(), "silu", example=example)
    assert report == ["act"]
    (one,) = report.skipped
    assert "relu at" in one.what
    assert "swap_models.py" in one.what
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
