"""A standalone torch file: value and exact gradient, saving x alone for the backward pass."""

from __future__ import annotations

import inspect
import re

from nonlin.exporters.source import argument_names, identifier
from nonlin.exporters.subject import Subject
from nonlin.expr import derivative, special
from nonlin.expr.codegen import kernel_source

_TAKEN = ("torch", "nn", "math", "Tensor", "Value", "self", "channels", "dim", "inf", "nan")


def write_torch(subject: Subject) -> str:
    """The text of a Python file with a function and a module."""
    parameters = tuple(subject.values)
    names = argument_names(parameters, _TAKEN)
    function, module = identifier(subject.name), identifier(subject.name, capital=True)
    taken = {*_TAKEN, *names.values(), *vars(special)}
    function = f"{function}_activation" if function in taken else function
    inputs = ("x", *parameters)
    value = kernel_source((subject.expr,), parameters)
    gradient = kernel_source(tuple(derivative(subject.expr, by) for by in inputs), parameters)
    text = "\n\n\n".join(
        [
            _head(subject),
            *_needed(value + gradient),
            *(_renamed(code, name, names) for code, name in ((value, "_value"), (gradient, "_gradients"))),
            _FUNCTION,
            _wrapper(function, names),
            _module(module, function, subject, names),
        ]
    )
    return text.rstrip() + "\n"


def _head(subject: Subject) -> str:
    lines = "\n".join(subject.description()).replace("\\", "\\\\").replace('"""', "'''")
    return (
        f'"""{lines}\n"""\n\nfrom __future__ import annotations\n\nimport math\n\n'
        "import torch\nfrom torch import Tensor, nn\n\nValue = Tensor | float\ninf, nan = math.inf, math.nan"
    )


def _needed(code: str) -> list[str]:
    """The functions of `nonlin.expr.special` that the code calls, and those that they call."""
    known = {name: f for name, f in vars(special).items() if inspect.isfunction(f)}
    wanted = [name for name in known if re.search(rf"(?<![.\w]){name}\(", code)]
    return [inspect.getsource(known[name]).rstrip() for name in wanted]


def _renamed(code: str, function: str, names: dict[str, str]) -> str:
    """The kernel with its own name, and with the parameters' names in the place of p0, p1, ..."""
    codes = list(names.values())
    code = re.sub(r"\bp(\d+)\b", lambda match: codes[int(match[1])], code)
    return code.replace("def kernel(", f"def {function}(", 1).rstrip()


_FUNCTION = '''\
class _Apply(torch.autograd.Function):
    """Saves the inputs alone; half precision is computed in float32 and rounded once."""

    @staticmethod
    def forward(ctx, x, *parameters):
        ctx.save_for_backward(x, *parameters)
        return _value(*_wide(x, parameters))[0].to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        x, *parameters = ctx.saved_tensors
        partials = _gradients(*_wide(x, parameters))
        results = []
        for value, partial in zip((x, *parameters), partials):
            product = gradient.to(partial.dtype) * partial
            results.append(product.sum_to_size(value.shape).to(value.dtype))
        return tuple(results)


def _wide(x, parameters):
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return wide, *(value.to(wide.dtype) for value in parameters)'''


def _wrapper(function: str, names: dict[str, str]) -> str:
    arguments = ", ".join(["x: Tensor", *(f"{name}: Tensor" for name in names.values())])
    return (
        f"def {function}({arguments}) -> Tensor:\n"
        '    """f(x), elementwise and differentiable; the parameters broadcast against x."""\n'
        f"    return _Apply.apply({', '.join(['x', *names.values()])})"
    )


def _module(module: str, function: str, subject: Subject, names: dict[str, str]) -> str:
    import torch

    if not names:
        return (
            f'class {module}(nn.Module):\n    """f(x) on tensors of any shape."""\n\n'
            f"    def forward(self, x: Tensor) -> Tensor:\n        return {function}(x)"
        )
    attributes = {name: f"{code}_" if hasattr(torch.nn.Module, code) else code for name, code in names.items()}
    arguments = ", ".join(f"{names[name]}={value!r}" for name, value in subject.values.items())
    lines = [
        f"class {module}(nn.Module):",
        '    """f(x) with trainable parameters.',
        "",
        "    Each initial value is a number, or a list with one for each channel; `channels` spreads a number over",
        "    so many. `dim` is the dimension of the input that holds the channels.",
        '    """',
        "",
        f"    def __init__(self, {arguments}, channels=None, dim={subject.dim}):",
        "        super().__init__()",
        "        self.dim = dim",
    ]
    for name, code in names.items():
        lines += [
            f"        start = torch.tensor({code}, dtype=torch.get_default_dtype())",
            "        start = start if channels is None else start.expand(channels).clone()",
            f"        self.{attributes[name]} = nn.Parameter(start)",
        ]
    passed = ", ".join(f"self._along(self.{attribute}, x)" for attribute in attributes.values())
    lines += [
        "",
        "    def forward(self, x: Tensor) -> Tensor:",
        f"        return {function}(x, {passed})",
        "",
        "    def _along(self, value: Tensor, x: Tensor) -> Tensor:",
        "        if not value.dim():",
        "            return value",
        "        shape = [1] * x.dim()",
        "        shape[self.dim] = -1",
        "        return value.reshape(shape)",
    ]
    return "\n".join(lines)
