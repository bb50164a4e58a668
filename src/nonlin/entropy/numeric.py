"""An activation given by a table instead of a formula: a monotone cubic spline.

Where a distribution function is outside the language (samples, a user's density, Student t) the worst
activation is one of these. It is called like an `Activation`, differentiates and becomes a module.

References: [Fritsch1980] F. Fritsch, R. Carlson, Monotone piecewise cubic interpolation, SIAM J.
Numer. Anal. 17, 1980 (slopes at most 3 times the neighbouring secants keep a cubic monotone).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nonlin.entropy.base import like
from nonlin.errors import EntropyError

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[np.float64]


class NumericActivation:
    """A continuously differentiable piecewise cubic function; beyond its knots a straight line.

    Parameters
    ----------
    name : what messages and `repr` show
    knots, values, slopes : shape (knots,), the knots increasing
    order : 0 for the function itself, 1 and 2 for its derivatives
    """

    parameters: dict[str, float]

    def __init__(self, name: str, knots: Any, values: Any, slopes: Any, order: int = 0):
        self.name, self.order, self.parameters = name, order, {}
        self.knots, self.values, self.slopes = (np.array(part, dtype=float) for part in (knots, values, slopes))
        if self.knots.ndim != 1 or self.knots.size < 2 or not np.all(np.diff(self.knots) > 0):
            raise EntropyError(f"{name}: the knots must be at least two increasing numbers.")
        if not self.knots.shape == self.values.shape == self.slopes.shape:
            raise EntropyError(f"{name}: knots, values and slopes must have one length.")
        self._coefficients = self._cubics()

    @property
    def formula(self) -> str:
        """A table has no formula in the language; this says what it is."""
        return f"spline({self.name}, {self.knots.size} knots)"

    def __repr__(self) -> str:
        low, high = self.knots[[0, -1]]
        return f"<NumericActivation {self.name}: {self.knots.size} knots on [{low:g}, {high:g}]>"

    def _cubics(self) -> Array:
        """Coefficients of 1, t, t², t³ with t = x - left knot, shape (4, knots + 1); lines at both ends."""
        width = np.diff(self.knots)
        secant = np.diff(self.values) / width
        left, right = self.slopes[:-1], self.slopes[1:]
        inner = np.stack(
            [
                self.values[:-1],
                left,
                (3 * secant - 2 * left - right) / width,
                (left + right - 2 * secant) / width**2,
            ]
        )
        ends = np.array([[self.values[0], self.values[-1]], [self.slopes[0], self.slopes[-1]], [0, 0], [0, 0]])
        table = np.concatenate([ends[:, :1], inner, ends[:, 1:]], axis=1)
        for _ in range(self.order):
            table = np.stack([table[1], 2 * table[2], 3 * table[3], np.zeros(table.shape[1])])
        return table

    def _evaluate(self, x: Array, table: Array) -> Array:
        interval = np.searchsorted(self.knots, x, side="right")
        t = x - self.knots[np.maximum(interval - 1, 0)]
        a, b, c, d = table[:, interval]
        line = (interval == 0) | (interval == self.knots.size)
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where(line, a + np.where(b == 0, 0.0, b * t), a + t * (b + t * (c + t * d)))

    def value(self, x: Array) -> Array:
        """f at float64 x of shape (n,)."""
        return self._evaluate(x, self._coefficients)

    def slope(self, x: Array) -> Array:
        """f' at float64 x of shape (n,)."""
        return self.derivative().value(x)

    def curvature(self, x: Array) -> Array:
        """f'' at float64 x of shape (n,); it jumps at the knots."""
        return self.derivative().derivative().value(x)

    def __call__(self, x: Any) -> Any:
        """The value at x, elementwise: same type, shape and floating dtype; tensors are differentiable."""
        if type(x).__module__.startswith("torch"):
            return self._tensor_value(x)
        return like(x, self.value)

    def _tensor_value(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        knots = torch.as_tensor(self.knots, device=x.device)
        table = torch.as_tensor(self._coefficients, device=x.device)
        wide = x.double()
        interval = torch.searchsorted(knots, wide.detach().contiguous(), right=True)
        t = wide - knots[(interval - 1).clamp(min=0)]
        a, b, c, d = table[:, interval]
        return (a + t * (b + t * (c + t * d))).to(x.dtype)

    def derivative(self) -> NumericActivation:
        """The derivative, as an activation of the same knots."""
        return NumericActivation(f"d({self.name})/dx", self.knots, self.values, self.slopes, self.order + 1)

    def module(self) -> torch.nn.Module:
        """A `torch.nn.Module` without parameters."""
        return _module(self)


def monotone_slopes(knots: Array, values: Array, slopes: Array) -> Array:
    """Slopes bounded so that the spline is monotone where its values are [Fritsch1980]."""
    secant = np.diff(values) / np.diff(knots)
    bound = 3 * np.minimum(np.append(secant, np.inf), np.insert(secant, 0, np.inf))
    return np.clip(slopes, 0.0, np.maximum(bound, 0.0))


def _module(function: NumericActivation) -> torch.nn.Module:
    import torch

    class SplineModule(torch.nn.Module):
        """A tabulated activation."""

        def __init__(self) -> None:
            super().__init__()
            self.function = function

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.function(x)

        def extra_repr(self) -> str:
            return self.function.formula

    return SplineModule()
