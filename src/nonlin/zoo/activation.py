"""`Activation`: an expression with a name and initial values for its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from nonlin.errors import NonlinError
from nonlin.expr import Expr, derivative, to_latex, to_text

if TYPE_CHECKING:
    from nonlin.native.module import ActivationModule


@dataclass(frozen=True)
class Activation:
    """A scalar function of the pre-activation x, possibly with trainable parameters.

    Get one from `nonlin.activation`. It is immutable, hashable, picklable, and callable on floats,
    NumPy arrays and torch tensors.

    Attributes
    ----------
    name : its catalogue name, or its formula
    expr : the expression tree
    initial : (parameter, initial value) pairs in order of appearance
    """

    name: str
    expr: Expr
    initial: tuple[tuple[str, float], ...] = ()

    @property
    def formula(self) -> str:
        """The formula as text of the language; `nonlin.activation` reads it back."""
        return to_text(self.expr)

    @property
    def parameters(self) -> dict[str, float]:
        """Trainable parameters and their initial values."""
        return dict(self.initial)

    def __call__(self, x: Any, **parameters: Any) -> Any:
        """The value at x, elementwise.

        Parameters
        ----------
        x : float, NumPy array or torch tensor, any shape; integers are read as floats
        parameters : values other than the initial ones (numbers or tensors that broadcast against x)

        Returns
        -------
        The same type, shape and floating dtype as x. Tensors are differentiable.
        """
        import numpy as np
        import torch

        from nonlin.native.module import apply, program

        unknown = [name for name in parameters if name not in self.parameters]
        if unknown:
            raise NonlinError(self._no_parameter(unknown[0]))
        if isinstance(x, torch.Tensor):
            tensor = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        else:
            try:
                if x is None:
                    raise TypeError  # NumPy would read it as NaN
                array = np.asarray(x, dtype=None if isinstance(x, np.ndarray | np.generic) else np.float64)
                array = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
                tensor = torch.from_numpy(np.array(array))
            except (TypeError, ValueError):
                raise NonlinError(
                    f"{self.name} is a function of real numbers; got {type(x).__name__} {x!r:.60}. "
                    "Pass a float, a NumPy array or a torch tensor."
                ) from None
        precision = tensor.dtype if tensor.dtype.itemsize > 2 else torch.float32
        values = [
            torch.as_tensor(parameters.get(name, value), dtype=precision, device=tensor.device)
            for name, value in self.initial
        ]
        result = apply(program(self.expr, tuple(self.parameters)), tensor, *values)
        if isinstance(x, torch.Tensor):
            return result
        out = result.numpy()
        return out.reshape(array.shape) if isinstance(x, np.ndarray) and x.ndim else (
            out.dtype.type(out) if isinstance(x, np.ndarray | np.generic) else
            float(out) if out.ndim == 0 else out
        )  # fmt: skip

    def derivative(self, by: str = "x") -> Activation:
        """The derivative by x, or by one of the parameters, as an activation."""
        if by != "x" and by not in self.parameters:
            raise NonlinError(self._no_parameter(by))
        tree = derivative(self.expr, by)
        kept = tuple((name, value) for name, value in self.initial if name in tree.parameters)
        return Activation(f"d({self.name})/d{by}", tree, kept)

    def latex(self) -> str:
        """The right-hand side as LaTeX, without dollar signs."""
        return to_latex(self.expr)

    def same_as(self, other: Activation | str) -> bool:
        """Whether both are one function, or one family, up to rewriting, numerics and parameter names.

        Where a trainable parameter can absorb a difference (2·β·x and β·x) the families are the same.
        """
        from nonlin.expr.identity import same_function
        from nonlin.zoo.catalogue import activation

        return same_function(self.expr, activation(other).expr)

    def module(
        self,
        per: Literal["tensor", "channel"] = "tensor",
        channels: int | None = None,
        dim: int = 1,
    ) -> ActivationModule:
        """A `torch.nn.Module` with the parameters trainable, each starting at its initial value.

        Parameters
        ----------
        per : "tensor" for one value per parameter, "channel" for one per channel
        channels, dim : for ``per="channel"``: how many, and the input's dimension that holds them
        """
        from nonlin.native.module import ActivationModule

        return ActivationModule(self.expr, self.parameters, per, channels, dim, self.name)

    @cached_property
    def _label(self) -> str:
        formula = self.formula
        return formula if self.name == formula else f"{self.name}: {formula}"

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value:g}" for name, value in self.initial)
        return f"{self._label} ({values})" if values else self._label

    def __repr__(self) -> str:
        return f"<Activation {self}>"

    def _no_parameter(self, name: str) -> str:
        known = ", ".join(self.parameters) or "none"
        return f"{self.name} has no parameter {name!r}; its parameters: {known}."


def with_initial(act: Activation, values: Mapping[str, float]) -> Activation:
    """`act` with other initial values.

    Raises
    ------
    NonlinError : for a parameter it does not have, or a value that is not a finite number.
    """
    import math

    for name, value in values.items():
        if name not in act.parameters:
            raise NonlinError(act._no_parameter(name))
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise NonlinError(f"{act.name}: {name}={value!r} is not a finite number.")
    initial = tuple((name, float(values.get(name, value))) for name, value in act.initial)
    return Activation(act.name, act.expr, initial)
