"""timm: its models with act_layer=, and swapped."""

import pickle

import pytest
import torch
from torch import nn
from torchvision_stub import torchvision_or_stub

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule

# name, arguments, activations it takes by act_layer=, all of them
MODELS = [
    ("test_vit", {}, 6, 6),
    ("test_efficientnet", {}, 11, 11),
    ("test_convnext", {}, 9, 9),
    ("test_resnet", {}, 12, 12),
    ("mobilenetv3_small_050", {}, 19, 33),
]


@pytest.fixture(scope="module")
def timm():
    with torchvision_or_stub():
        return pytest.importorskip("timm")


def acts(model):
    return [module for module in model.modules() if isinstance(module, ActivationModule)]


def test_layer_needs_no_timm():
    make = nl.timm.act_layer("swish", beta=0.5)
    for one in (make, pickle.loads(pickle.dumps(make))):
        module = one(inplace=True)
        assert module.beta.item() == 0.5
        assert module is not one()
    x = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(make()(x), x * torch.sigmoid(0.5 * x))
    assert make(device="meta", dtype=torch.float64).beta.dtype == torch.float64
    with pytest.raises(NonlinError, match="Did you mean 'swish'"):
        nl.timm.act_layer("swihs")
    with pytest.raises(NonlinError, match="no parameter 'gamma'"):
        nl.timm.act_layer("swish", gamma=1.0)


@pytest.mark.parametrize(("name", "arguments", "taken", "every"), MODELS, ids=[row[0] for row in MODELS])
def test_models(timm, name, arguments, taken, every):
    torch.manual_seed(0)
    built = timm.create_model(name, num_classes=3, act_layer=nl.timm.act_layer("swish"), **arguments).eval()
    assert len(acts(built)) == taken
    swapped = timm.create_model(name, num_classes=3, **arguments).eval()
    x = torch.randn(2, *swapped.pretrained_cfg["input_size"])
    report = nl.swap(swapped, "swish", example=x)
    assert len(report) == every == len(acts(swapped))
    assert report.skipped == []
    if taken == every:  # two ways to one model
        swapped.load_state_dict(built.state_dict())
        with torch.no_grad():
            torch.testing.assert_close(swapped(x), built(x))
    swapped.train()(x).square().mean().backward()
    assert all(module.beta.grad is not None for module in acts(swapped))


def test_the_same_function_as_timms_own(timm):
    torch.manual_seed(0)
    usual = timm.create_model("test_efficientnet", num_classes=3).eval()
    mine = timm.create_model("test_efficientnet", num_classes=3, act_layer=nl.timm.act_layer("silu")).eval()
    mine.load_state_dict(usual.state_dict())
    x = torch.randn(2, *usual.pretrained_cfg["input_size"])
    with torch.no_grad():
        torch.testing.assert_close(mine(x), usual(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_compiled_and_saved(timm, name, tmp_path):
    torch.compiler.reset()
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    x = torch.randn(2, *model.pretrained_cfg["input_size"])
    nl.swap(model, "swish", per="channel", example=x)
    for module in acts(model):
        nn.init.uniform_(module.beta, 0.5, 1.5)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), expected)
        torch.save(model.state_dict(), tmp_path / "model.pt")
        fresh = timm.create_model(name, num_classes=3).eval()
        nl.swap(fresh, "swish", per="channel", example=x)
        fresh.load_state_dict(torch.load(tmp_path / "model.pt"))
        torch.testing.assert_close(fresh(x), expected, rtol=0, atol=0)


def test_refused_where_the_model_takes_none(timm):
    """A family without act_layer=: timm says so, and swap reaches it."""
    with pytest.raises(TypeError, match="act_layer"):
        timm.create_model("ghostnet_050", num_classes=3, act_layer=nl.timm.act_layer("swish"))
    assert len(nl.swap(timm.create_model("ghostnet_050", num_classes=3), "swish")) == 42
