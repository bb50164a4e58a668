"""An expression as a differentiable torch operation and as an `nn.Module`.

In eager mode on a CPU the compiled core computes value and gradients, each in one pass over memory
(`nonlin.native.direct`). Torch's own operators do it where the core is not there or does not know the
function, on other devices, in compiled graphs (where they are fused), and under transforms.

The backward pass is our own: it keeps x (and the parameters) and nothing else, and computes exact
symbolic derivatives, so that composite functions neither multiply the memory nor meet the NaN that
automatic differentiation makes in the untaken branch of `torch.where`. Gradients of gradients, forward
mode and `torch.func` transforms work to any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes

from nonlin.errors import NonlinError
from nonlin.expr.codegen import Kernel, compile_kernel
from nonlin.expr.derivative import derivative
from nonlin.expr.simplify import simplify
from nonlin.expr.tree import Expr
from nonlin.native import direct
from nonlin.native.program import Function, function

Per = Literal["tensor", "channel"]
_HALF = (torch.float16, torch.bfloat16)


class Program:
    """An expression with an order of its parameters, compiled when first used.

    `torch.compile` cannot trace the making of kernels and takes no function from outside but by its name.
    So `prepare` makes a kernel, also in the middle of a trace, and leaves it in `value_kernel` or
    `gradient_kernels`.
    """

    value_kernel: Kernel

    def __init__(self, expr: Expr, parameters: tuple[str, ...]):
        self.expr, self.parameters = expr, parameters
        self.inputs = ("x", *parameters)
        self.gradient_kernels: dict[tuple[int, ...], Kernel] = {}

    def __reduce__(self):
        return program, (self.expr, self.parameters)

    @cached_property
    def native(self) -> Function:
        """The same for the compiled core."""
        return function(self.expr, self.parameters)

    def derivative(self, index: int) -> Program:
        """The program of the derivative by input `index` (0 is x)."""
        return program(derivative(self.expr, self.inputs[index]), self.parameters)

    def value(self) -> Kernel:
        """The torch kernel of the value."""
        self.prepare()
        return self.value_kernel

    def gradient(self, *wanted: int) -> Kernel:
        """One torch kernel for several derivatives, sharing their common parts."""
        self.prepare(*wanted)
        return self.gradient_kernels[wanted]

    def prepare(self, *wanted: int) -> bool:
        """Make the kernel of the value, or of the derivatives by the inputs `wanted`; once."""
        if "value_kernel" in self.__dict__ if not wanted else wanted in self.gradient_kernels:
            return True
        with _unobserved():
            if not wanted:
                self.value_kernel = compile_kernel((self.expr,), self.parameters)
            else:
                partials = tuple(derivative(self.expr, self.inputs[index]) for index in wanted)
                self.gradient_kernels[wanted] = compile_kernel(partials, self.parameters)
        return True

    # What torch.compiler.assume_constant_result does, which loads torch's compiler: a second for every process.
    prepare._dynamo_marked_constant = True  # type: ignore[attr-defined]


@contextmanager
def _unobserved() -> Iterator[None]:
    """No tracer sees what is computed here: the making of a kernel looks at numbers."""
    tracing = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        with _disable_current_modes():
            yield
    finally:
        torch._C._set_tracing_state(tracing)  # type: ignore[attr-defined]


@lru_cache(maxsize=4096)
def program(expr: Expr, parameters: tuple[str, ...]) -> Program:
    return Program(simplify(expr), parameters)


class _Traced(torch.autograd.Function):
    """The operation as a compiled graph can hold it: without forward mode, which `torch.compile` does not trace."""

    generate_vmap_rule = True

    @staticmethod
    def forward(program: Program, x: Tensor, *parameters: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and direct.fits(program.native, x, parameters):
            return direct.value(program.native, x, parameters)
        return _evaluate(program.value(), x, parameters)[0].to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.program = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        inputs = ctx.saved_tensors
        wanted = tuple(i for i, needed in enumerate(ctx.needs_input_grad[1:]) if needed)
        compiling = torch.compiler.is_compiling()
        higher = torch.is_grad_enabled() and not compiling  # a gradient of this gradient may be asked for
        plain = not (higher or compiling) and type(gradient) is Tensor
        if plain and direct.fits(ctx.program.native, inputs[0], inputs[1:]):
            trained = any(index > 0 for index in wanted)
            by_x, others = direct.gradients(ctx.program.native, inputs[0], gradient, inputs[1:], trained)
            return None, *(one if i in wanted else None for i, one in enumerate((by_x, *others)))
        if higher:
            partials = [apply(ctx.program.derivative(i), *inputs) for i in wanted]
        else:
            partials = list(_evaluate(ctx.program.gradient(*wanted), inputs[0], inputs[1:]))
        results: list[Tensor | None] = [None] * len(inputs)
        for index, partial in zip(wanted, partials, strict=True):
            product = gradient.to(partial.dtype) * partial
            results[index] = product.sum_to_size(inputs[index].shape).to(inputs[index].dtype)
        return None, *results


class _Direct(_Traced):
    """The operation by the compiled core, where nothing but the backward pass follows it.

    Its forward has the older form, with ctx, which torch calls faster.
    """

    generate_vmap_rule = False
    setup_context = torch.autograd.Function.setup_context

    @staticmethod
    def forward(ctx, program: Program, x: Tensor, *parameters: Tensor) -> Tensor:  # type: ignore[override]
        ctx.program = program
        ctx.save_for_backward(x, *parameters)
        return direct.value(program.native, x, parameters)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, *parameters = ctx.saved_tensors
        function = ctx.program.native
        if torch.is_grad_enabled() or type(gradient) is not Tensor or not direct.fits(function, x, parameters):
            return _Traced.backward(ctx, gradient)
        needed = ctx.needs_input_grad
        by_x, others = direct.gradients(function, x, gradient, parameters, any(needed[2:]))
        return (
            None,
            by_x if needed[1] else None,
            *(one if wanted else None for one, wanted in zip(others, needed[2:], strict=True)),
        )


class _Apply(_Traced):
    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _Traced.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def jvp(ctx, _, *tangents):
        inputs = ctx.saved_tensors
        total = None
        for index, tangent in enumerate(tangents):
            if tangent is not None:
                part = apply(ctx.program.derivative(index), *inputs) * tangent
                total = part if total is None else total + part
        return total


def _evaluate(kernel, x: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """float16 and bfloat16 are computed in float32, to be rounded once, as torch's own kernels do."""
    wide = x.float() if x.dtype in _HALF else x
    return kernel(wide, *(value.to(wide.dtype) for value in parameters))


def apply(program: Program, x: Tensor, *parameters: Tensor) -> Tensor:
    """The value of a program, differentiable by x and by the parameters.

    x has any shape and a floating dtype; each parameter broadcasts against x and has any floating dtype (it
    is not rounded to a half-precision x). The result has x's shape and dtype.
    """
    differentiated = torch.is_grad_enabled() and (x.requires_grad or any(one.requires_grad for one in parameters))
    if torch.compiler.is_compiling():
        if differentiated:
            return _Traced.apply(program, x, *parameters)
        return _evaluate(program.value(), x, parameters)[0].to(x.dtype)  # Dynamo would hand `forward` a ctx
    if torch.jit.is_tracing():  # TorchScript, and ONNX by way of it, can save torch's own operators alone
        return _evaluate(program.value(), x, parameters)[0].to(x.dtype)
    if forward_ad._current_level < 0 and direct.fits(program.native, x, parameters):
        if differentiated:
            return _Direct.apply(program, x, *parameters)
        return direct.value(program.native, x, parameters)
    return _Apply.apply(program, x, *parameters)


class ActivationModule(nn.Module):
    """An activation as a module.

    Parameters
    ----------
    expr : the function
    initial : the initial value of each trainable parameter
    per : "tensor" for one value per parameter, "channel" for one per channel
    channels : the number of channels, for ``per="channel"``
    dim : the dimension of the input that holds the channels (1 for images and (batch, features))
    name : what `repr` shows
    """

    def __init__(
        self,
        expr: Expr,
        initial: Mapping[str, float],
        per: Per = "tensor",
        channels: int | None = None,
        dim: int = 1,
        name: str | None = None,
    ):
        super().__init__()
        if per not in ("tensor", "channel"):
            raise NonlinError(f"per={per!r} is not known; use 'tensor' or 'channel'.")
        if per == "channel" and initial and (not isinstance(channels, int) or channels < 1):
            raise NonlinError(
                f"per='channel' needs the number of channels, a whole number above 0; got channels={channels!r}."
            )
        self.expr, self.per, self.channels, self.dim, self.label = expr, per, channels, dim, name
        self.parameter_names = tuple(initial)
        self.initial: dict[str, float] = {}
        # "half", "train", "dim" and the like mean something else in a module: such a parameter gets an underscore.
        self._attributes = tuple(f"{n}_" if hasattr(self, n) else n for n in initial)
        self._program = program(expr, self.parameter_names)
        self.initial = dict(zip(self._attributes, map(float, initial.values()), strict=True))
        shape = [channels] if per == "channel" and channels else []
        for attribute, value in self.initial.items():
            self.register_parameter(attribute, nn.Parameter(torch.full(shape, value)))

    def reset_parameters(self) -> None:
        """Every parameter at its initial value again, as torch asks of a module made on the meta device."""
        with torch.no_grad():
            for attribute, value in self.initial.items():
                getattr(self, attribute).fill_(value)

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape (with `channels` along `dim` for per="channel"). Same shape and dtype out."""
        values: list[Tensor] = [getattr(self, attribute) for attribute in self._attributes]
        if self.per == "channel" and values:
            values = [self._along_channels(value, x) for value in values]
        return apply(self._program, x, *values)

    def _along_channels(self, value: Tensor, x: Tensor) -> Tensor:
        fits = -x.dim() <= self.dim < x.dim()
        if not (fits and (torch.jit.is_tracing() or x.shape[self.dim] == self.channels)):  # TorchScript traces sizes
            raise NonlinError(
                f"{self.label or self.expr} has parameters for {self.channels} channels along dimension "
                f"{self.dim}, but its input has shape {tuple(x.shape)}. Pass channels= and dim= that fit it."
            )
        shape = [1] * x.dim()
        shape[self.dim] = -1
        return value.reshape(shape)

    def extra_repr(self) -> str:
        text = f"{self.label}: {self.expr}" if self.label else str(self.expr)
        if not self.parameter_names:
            return text
        channels = f", channels={self.channels}, dim={self.dim}" if self.per == "channel" else ""
        return f"{text}, parameters={list(self.parameter_names)}, per={self.per!r}{channels}"
