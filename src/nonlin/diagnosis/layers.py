"""Which layers of a model are activations, which hold weights, and where a layer's units lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from nonlin.errors import DiagnosisError, suggest
from nonlin.native.module import ActivationModule
from nonlin.nn import Adaptive

# torch's activations that mix positions: no derivative of one input alone.
_NOT_POINTWISE = ("Softmax", "Softmin", "LogSoftmax", "Softmax2d", "GLU", "MultiheadAttention")
# Libraries whose activations are modules of their own; recognised by name, so that none has to be installed.
_HOMES = ("torch.nn.modules.activation", "transformers.activations", "timm.layers.activations")
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._MaxPoolNd,
)  # fmt: skip

Wanted = Sequence[str | type[nn.Module]]


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an elementwise activation that nonlin, torch, transformers or timm define."""
    if isinstance(module, ActivationModule | Adaptive):
        return True
    kind = type(module)
    return kind.__module__.startswith(_HOMES) and kind.__name__ not in _NOT_POINTWISE


def activation_layers(model: nn.Module, wanted: Wanted | None = None) -> dict[str, nn.Module]:
    """Activation layers by qualified name, and those that the user names.

    Parameters
    ----------
    wanted : qualified names and types to take besides the activations that are recognised

    Raises
    ------
    DiagnosisError : for a name that the model does not have, or a type of which it has no layer
    """
    modules = dict(model.named_modules())
    named, types = _split(wanted or (), modules)
    found: dict[str, nn.Module] = {}
    for name, module in modules.items():
        inside = any(name.startswith(f"{outer}.") or outer == "" for outer in found)
        if name in named or isinstance(module, types) or (is_activation(module) and not inside):
            found[name] = module
    return found


def _split(wanted: Wanted, modules: dict[str, nn.Module]) -> tuple[set[str], tuple[type[nn.Module], ...]]:
    if isinstance(wanted, str | type):
        wanted = (wanted,)
    names, types = set(), []
    for item in wanted:
        if isinstance(item, type) and issubclass(item, nn.Module):
            if not any(isinstance(module, item) for module in modules.values()):
                raise DiagnosisError(f"layers: the model has no {item.__name__}. It has {_kinds(modules.values())}.")
            types.append(item)
        elif isinstance(item, str) and item in modules:
            names.add(item)
        else:
            close = suggest(item, modules) if isinstance(item, str) else ""
            hint = f" Did you mean {close}?" if close else " Names are those of model.named_modules()."
            raise DiagnosisError(f"layers: {item!r} is neither a layer of the model nor a type of layers.{hint}")
    return names, tuple(types)


def _kinds(modules: Iterable[nn.Module]) -> str:
    return ", ".join(sorted({type(module).__name__ for module in modules}))


def weights(model: nn.Module) -> dict[str, tuple[nn.Module, nn.Parameter]]:
    """Every matrix of weights: (the module that holds it, the parameter) by name, in order of registration.

    A matrix is a floating parameter of two or more dimensions outside activations: biases and scales of
    norms are left out. The name is the module's where the parameter is its `weight`. A tied matrix is
    listed once.
    """
    shapes = {id(p) for module in activation_layers(model).values() for p in module.parameters()}
    found: dict[str, tuple[nn.Module, nn.Parameter]] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() < 2 or id(parameter) in shapes or not parameter.is_floating_point():
                continue
            shapes.add(id(parameter))
            label = path if name == "weight" and path else f"{path}.{name}".lstrip(".")
            found[label] = (module, parameter)
    return found


def label(module: nn.Module) -> tuple[str, str]:
    """(what a layer is called, its formula or its settings): ("swish", "x*sigmoid(beta*x)")."""
    if isinstance(module, ActivationModule):
        return module.label or str(module.expr), str(module.expr)
    if isinstance(module, Adaptive):
        return f"adaptive {module.activation.name}", module.activation.formula
    kind = type(module).__name__
    settings = module.extra_repr().replace("\n", ", ")
    return kind, f"{kind}({settings})"


def channels_first(module: nn.Module) -> bool:
    """Whether a layer's output has its channels in dimension 1, as convolutions and pooling have."""
    return isinstance(module, _CHANNELS_FIRST)


def unit_dimension(module: nn.Module, x: Tensor, after_channels_first: bool | None) -> int:
    """The dimension of `x` that counts units: a layer's own where it has parameters per channel.

    Else the last in a matrix; dimension 1 behind a convolution, and the last behind other layers with
    weights, as in transformers. Where nothing ran before: dimension 1 of images, else the last.
    """
    if isinstance(module, ActivationModule) and module.per == "channel" and module.parameter_names:
        return module.dim % x.dim()
    if isinstance(module, Adaptive) and module.per == "channel":
        return module.dim % x.dim()
    if x.dim() < 3:
        return x.dim() - 1
    if (isinstance(module, nn.PReLU) and module.num_parameters > 1) or after_channels_first:
        return 1
    return 1 if after_channels_first is None and x.dim() > 3 else x.dim() - 1


def parameter_values(module: nn.Module) -> dict[str, Tensor]:
    """The trainable values of an activation by name, each flat."""
    if isinstance(module, ActivationModule):
        pairs = zip(module.parameter_names, module.parameters(), strict=True)
        return {name: value.detach().reshape(-1) for name, value in pairs}
    return {name: value.detach().reshape(-1) for name, value in module.named_parameters()}


@torch.no_grad()
def pointwise(module: nn.Module, x: Tensor) -> bool:
    """Whether each output depends on the input at its own place alone (tried on the given input).

    Half of the places get the value of another row; outputs at the other half must stay as they were.
    """
    mixed = torch.arange(x.numel(), device=x.device).reshape(x.shape) % 2 == 0
    other = torch.where(mixed, x.roll(1, 0) + 0.5, x)
    before, after = module(x.clone()), module(other)
    if not isinstance(before, Tensor) or before.shape != x.shape:
        return False
    return bool(torch.equal(before[~mixed], after[~mixed]))
