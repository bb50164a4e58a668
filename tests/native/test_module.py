"""The differentiable operation and the module: gradients, dtypes, shapes, transforms, state."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.errors import NonlinError

PARAMETRIC = ["swish", "prelu", "crrelu", "pelu", "x*sigmoid(beta*x) + gamma*sin(x)"]
PLAIN = ["relu", "gelu", "mish", "where(x > 0, sqrt(x), 0)", "x*tanh(exp(x))", "1", "x"]


@pytest.mark.parametrize("spec", PARAMETRIC + PLAIN)
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_gradcheck_to_second_order(spec, per):
    module = nl.activation(spec).module(per=per, channels=3).double()
    x = torch.tensor([[0.7, -1.3, 2.1], [1.9, 0.3, -0.4]], dtype=torch.float64, requires_grad=True)
    inputs = (x, *module.parameters())

    def run(x, *parameters):
        return torch.func.functional_call(
            module, dict(zip(dict(module.named_parameters()), parameters, strict=True)), x
        )

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("spec", PARAMETRIC + PLAIN)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_and_shapes(spec, dtype):
    act = nl.activation(spec)
    module = act.module()
    base = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    for x in (base, base.t(), base[:, ::2], base[0, 0], base[:0], base.reshape(2, 2, 6)):
        x = x.to(dtype).requires_grad_()
        y = module(x)
        assert y.shape == x.shape
        assert y.dtype == dtype
        y.sum().backward()
        assert x.grad.shape == x.shape
        assert all(p.grad.dtype == torch.float32 for p in module.parameters())


@pytest.mark.parametrize("spec", PARAMETRIC + PLAIN)
def test_half_precision_is_rounded_once(spec):
    act = nl.activation(spec)
    x = torch.linspace(-6, 6, 301).to(torch.bfloat16)
    assert torch.equal(act(x), act(x.float()).to(torch.bfloat16))


def test_only_x_is_kept_for_backward():
    kept = []
    x = torch.randn(1000, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        nl.activation("x*tanh(softplus(x))*sin(x)")(x)
    assert [tensor.numel() for tensor in kept if tensor.numel() > 1] == [1000]


@pytest.mark.parametrize("spec", ["swish", "mish"])
def test_functional_transforms(spec):
    module = nl.activation(spec).module()
    x = torch.randn(5, 3, dtype=torch.float32)
    assert torch.allclose(torch.func.vmap(module)(x), module(x))
    per_row = torch.func.vmap(torch.func.grad(lambda row: module(row).sum()))(x)
    x.requires_grad_()
    module(x).sum().backward()
    assert torch.allclose(per_row, x.grad)
    tangent = torch.ones_like(x)
    _, forward = torch.func.jvp(module, (x.detach(),), (tangent,))
    assert torch.allclose(forward, x.grad)


def test_stacked_parameters_under_vmap():
    module = nl.activation("swish").module(per="channel", channels=3)
    stacked = torch.tensor([[0.5, 1.0, 2.0], [1.0, 1.0, 1.0]])
    x = torch.randn(2, 4, 3)
    run = lambda beta, x: torch.func.functional_call(module, {"beta": beta}, x)  # noqa: E731
    result = torch.func.vmap(run)(stacked, x)
    for k in range(2):
        assert torch.allclose(result[k], x[k] * torch.sigmoid(stacked[k] * x[k]))


@pytest.mark.parametrize("spec", PARAMETRIC + PLAIN)
def test_pickle_copy_and_state(spec):
    module = nl.activation(spec).module(per="channel", channels=2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(0.4, 1.6)
    x = torch.randn(3, 2)
    for again in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert torch.equal(again(x), module(x))
        assert repr(again) == repr(module)
    fresh = nl.activation(spec).module(per="channel", channels=2)
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(x), module(x))
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)


def test_state_keys_are_the_parameter_names():
    assert list(nl.activation("x*sigmoid(beta*x)", beta=0.5).module().state_dict()) == ["beta"]
    # "half" is a method of every module
    assert list(nl.activation("half*x").module().state_dict()) == ["half_"]


def test_initial_values_are_deterministic():
    module = nl.activation("swish", beta=0.25).module(per="channel", channels=4)
    assert torch.equal(module.beta.detach(), torch.full((4,), 0.25))


@pytest.mark.parametrize(("shape", "dim"), [((2, 5), 1), ((2, 5, 7), 1), ((2, 7, 5), -1), ((5, 2), 0)])
def test_channels_along_any_dimension(shape, dim):
    module = nl.activation("swish").module(per="channel", channels=5, dim=dim)
    x = torch.randn(shape)
    assert module(x).shape == x.shape


def test_wrong_channels_say_what_to_do():
    module = nl.activation("swish").module(per="channel", channels=5)
    with pytest.raises(NonlinError, match=r"5 channels along dimension 1.*\(2, 4\)"):
        module(torch.randn(2, 4))
    with pytest.raises(NonlinError, match="channels=None"):
        nl.activation("swish").module(per="channel")
    with pytest.raises(NonlinError, match="'layer'"):
        nl.activation("swish").module(per="layer")
    assert list(nl.activation("relu").module(per="channel").parameters()) == []


def test_extra_repr():
    assert "swish: x*sigmoid(beta*x)" in repr(nl.activation("swish").module(per="channel", channels=3))


def test_autocast_and_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nl.activation("swish").module(per="channel", channels=8), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x, y = torch.randn(64, 4), torch.randn(64, 1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(x)
        loss = (output.float() - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not torch.equal(model[1].beta.detach(), torch.ones(8))


def test_initial_values_again():
    """What torch asks of a module that was made without memory, on the meta device."""
    act = nl.activation("x*sigmoid(beta*x) + c", beta=0.5, c=-2.0)
    with torch.device("meta"):
        module = act.module(per="channel", channels=3)
    module.to_empty(device="cpu").reset_parameters()
    assert torch.equal(module.beta, torch.full((3,), 0.5))
    assert torch.equal(module.c, torch.full((3,), -2.0))


@pytest.mark.parametrize("name", ["dim", "training", "initial", "expr", "half", "per"])
def test_parameters_with_names_of_the_module(name):
    module = nl.activation(f"x*tanh({name}*x)", **{name: 0.5}).module(per="channel", channels=2, dim=-1)
    assert list(dict(module.named_parameters())) == [f"{name}_"]
    x = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(module(x), x * torch.tanh(0.5 * x))
    assert (module.dim, module.per, module.training) == (-1, "channel", True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch would rather have torch.export
@pytest.mark.parametrize("formula", ["x*sigmoid(beta*x) + 0.25*cos(x)", "where(x > 0, log1p(c*x*c*x), expm1(x))"])
def test_torchscript_traces_and_saves(formula, tmp_path):
    """By torch's own operators alone; `trace` itself compares a second trace and its outputs with the first."""
    model = nn.Sequential(nn.Linear(3, 4), nl.activation(formula).module(per="channel", channels=4), nn.Linear(4, 2))
    torch.jit.trace(model.eval(), torch.randn(2, 3)).save(tmp_path / "model.pt")
    loaded, x = torch.jit.load(tmp_path / "model.pt"), torch.randn(5, 3)
    torch.testing.assert_close(loaded(x), model(x))
    gradients = [torch.autograd.grad(run(x).square().sum(), [*run.parameters()]) for run in (model, loaded)]
    torch.testing.assert_close(*gradients)
