"""What an adaptive layer adds to its base: a table over outputs, or Hermite terms over inputs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nonlin.errors import NonlinError
from nonlin.native import corrections
from nonlin.nn import adaptive_direction as direction
from nonlin.nn.adaptive_operations import REACH, HermiteStep, TableStep
from nonlin.nn.adaptive_pass import HermitePass, TablePass
from nonlin.nn.adaptive_schedule import Observing, pick_values


class Correction(Observing):
    """Base of both: f0(x) and x in, the corrected output out.

    Parameters
    ----------
    channels, dim : one set of trainable numbers per channel along `dim`; None for one set in all.
        Statistics are those of the whole layer in either case.
    """

    channels: int | None
    dim: int
    mean: Tensor
    deviation: Tensor

    def _add_statistics(self) -> None:
        corrections.prepare()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    @abstractmethod
    def in_one_pass(self, x: Tensor, base: str) -> Tensor | None:
        """The corrected base of that formula at x, with the base, in a compiled graph; None where that cannot be."""

    def _shape(self) -> list[int]:
        return [] if self.channels is None else [self.channels]

    def _along(self, values: Tensor, x: Tensor) -> Tensor:
        """(..., channels) to (..., 1, channels, 1), which broadcasts against x."""
        if self.channels is None:
            return values
        if not -x.dim() <= self.dim < x.dim() or x.shape[self.dim] != self.channels:
            raise NonlinError(
                f"the adaptive layer has {self.channels} channels along dimension {self.dim}, but its input has "
                f"shape {tuple(x.shape)}. Pass channels= and dim= that fit it."
            )
        after = x.dim() - 1 - self.dim % x.dim()
        return values.reshape(*values.shape, *[1] * after)

    def _standardise(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Update mean and deviation by a sample (count,); it in their units, and whether it is usable."""
        mean, deviation, usable = self._moments(values)
        self._average(self.mean, mean, usable)
        self._average(self.deviation, deviation, usable)
        return (values - self.mean) / self.deviation, usable


class TableCorrection(Correction):
    """y + rho·lerp(T, y), with T from the histogram of the layer's outputs y; rho = tanh(theta).

    Parameters
    ----------
    rho : initial amplitude, or the fixed one if not `trainable`
    kappa : smoothing of the outputs' density, in deviations
    """

    weights: Tensor
    lines: Tensor
    fixed_rho: Tensor
    _known: tuple[tuple[int, ...], tuple[Tensor, ...], tuple[Tensor, Tensor, Tensor]] | None

    def __init__(
        self, rho: float, trainable: bool, kappa: float, channels: int | None, dim: int, every: int, momentum: float,
        synchronise: bool,
    ):  # fmt: skip
        super().__init__(every, early=(5, 20), momentum=momentum, synchronise=synchronise)
        if not (math.isfinite(rho) and abs(rho) <= 1) or (trainable and abs(rho) == 1):
            raise NonlinError(f"rho={rho!r} must lie in [-1, 1], and inside if it is trained, being a tanh.")
        if not kappa >= direction.LEAST_KAPPA:
            raise NonlinError(f"kappa={kappa!r} must be at least {direction.LEAST_KAPPA}, about a bin's width.")
        self.kappa, self.channels, self.dim, self.trainable = kappa, channels, dim, trainable
        self._known = None
        self._add_statistics()
        self.register_buffer("weights", torch.zeros(direction.BINS))
        self.register_buffer("lines", torch.zeros(2, direction.BINS + 1))
        if trainable:
            self.theta = nn.Parameter(torch.full(self._shape(), math.atanh(rho)))
        else:
            self.register_buffer("fixed_rho", torch.full(self._shape(), float(rho)))

    @property
    def rho(self) -> Tensor:
        """The amplitude, () or (channels,)."""
        if not self.trainable:
            return self.fixed_rho
        return torch.tanh(self.theta.float() if self.theta.dtype.itemsize == 2 else self.theta)

    @property
    def table(self) -> Tensor:
        """T at the centres of the bins, in deviations of the outputs: (BINS,)."""
        return direction.interpolate(self.lines, direction.centres(self.lines.device))

    def set_table(self, values: Tensor) -> None:
        """Put in a table of one's own: values at the centres in deviations, (BINS,). The next refresh replaces it."""
        if values.shape != self.weights.shape or not bool(torch.isfinite(values).all()):
            raise NonlinError(f"a table is {direction.BINS} finite numbers, one per bin; got {tuple(values.shape)}.")
        with torch.no_grad():
            self.lines.copy_(direction.segments(values.to(self.lines)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.observe(pick_values, y)
        return TableStep.apply(y, self._along(self.rho, y), *self._in_units_of_y())

    def in_one_pass(self, x: Tensor, base: str) -> Tensor | None:
        rho = self._along(self.rho, x)
        if not corrections.fits(x, rho):
            return None
        out, *sample = TablePass.apply(
            x, base, rho, self.lines, self.mean, self.deviation, self.wanted, self.sample_size(x)
        )
        self.observed(*sample)
        return out

    def _in_units_of_y(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lines, stretch and shift for `TableStep`; remembered in eager mode until a buffer changes."""
        buffers = (self.lines, self.mean, self.deviation)
        if torch.compiler.is_compiling() or corrections.observed() or any(b.is_inference() for b in buffers):
            return self._scaled()
        versions = tuple(buffer._version for buffer in buffers)
        if (
            self._known is None
            or self._known[0] != versions
            or any(a is not b for a, b in zip(self._known[1], buffers, strict=True))
        ):
            self._known = versions, buffers, self._scaled()
        return self._known[2]

    def _scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        stretch = (self.deviation * direction.WIDTH).reciprocal()
        return self.lines * self.deviation, stretch, 0.5 - direction.LOW / direction.WIDTH - self.mean * stretch

    def __setstate__(self, state) -> None:
        super().__setstate__(state)
        self._known = None  # a copy counts its buffers' changes anew

    def refresh(self, sample: tuple[Tensor, ...]) -> None:
        z, usable = self._standardise(sample[0])
        (counts,) = self._total(direction.histogram(z))
        usable = usable & (counts.sum() > 0)
        self._average(self.weights, counts / counts.sum().clamp(min=1.0), usable)
        table = direction.displacement(self.weights, self.kappa)
        usable = usable & torch.isfinite(table).all()
        self.lines.copy_(torch.where(usable, direction.segments(table), self.lines))
        self.updates.add_(usable)


class HermiteCorrection(Correction):
    """y + s·Σ_{k<P} a_k z^k e^{-z²/2}, z = (x - m)/s clamped to ±6, with m and s of the layer's inputs.

    With order 2, a = (0, ε), m = 0 and s = 1 the added term is CRReLU's [Sun2024].

    Parameters
    ----------
    initial : the first values of a_0 … a_{P-1}
    standardise : whether m and s follow the inputs, or stay 0 and 1
    from_entropy : None, or the rho with which the coefficients are set from the entropy direction of the
        outputs at the first statistics
    """

    initialised: Tensor

    def __init__(
        self, initial: Sequence[float], standardise: bool, from_entropy: float | None, kappa: float,
        channels: int | None, dim: int, every: int, momentum: float, synchronise: bool,
    ):  # fmt: skip
        super().__init__(every, early=(1, 5, 20), momentum=momentum, synchronise=synchronise)
        if not kappa >= direction.LEAST_KAPPA:
            raise NonlinError(f"kappa={kappa!r} must be at least {direction.LEAST_KAPPA}, about a bin's width.")
        self.standardise, self.from_entropy, self.kappa = standardise, from_entropy, kappa
        self.channels, self.dim = channels, dim
        self._add_statistics()
        self.register_buffer("initialised", torch.tensor(from_entropy is None))
        start = torch.tensor([float(value) for value in initial]).reshape(-1, *[1] * len(self._shape()))
        self.coefficients = nn.Parameter(start.repeat(1, *self._shape()))  # (order,) or (order, channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        self.observe(pick_values, x, y)
        mean, deviation = self.mean.clone(), self.deviation.clone()  # a refresh must not reach a graph in use
        return HermiteStep.apply(x, y, mean, deviation, self._along(self.coefficients, x))

    def in_one_pass(self, x: Tensor, base: str) -> Tensor | None:
        coefficients = self._along(self.coefficients, x)
        if not corrections.fits(x, coefficients[0]):
            return None
        mean, deviation = self.mean.clone(), self.deviation.clone()
        out, sample = HermitePass.apply(x, base, mean, deviation, coefficients, self.wanted, self.sample_size(x))
        self.observed(sample)
        return out

    def refresh(self, sample: tuple[Tensor, ...]) -> None:
        x, y = sample if len(sample) == 2 else sample[0]
        usable = torch.isfinite(x).all()
        if self.standardise:
            _, usable = self._standardise(x)
        if self.from_entropy is not None and not bool(self.initialised):  # waits for the accelerator, once
            self._set_from_entropy(x, y, self.from_entropy)
        self.updates.add_(usable)

    def _set_from_entropy(self, x: Tensor, y: Tensor, rho: float) -> None:
        """Least squares of rho times the outputs' displacement on the terms, over the sample of all processes."""
        mean, deviation, usable = self._moments(y)
        z = (y - mean) / deviation
        (counts,) = self._total(direction.histogram(z))
        table = direction.displacement(counts / counts.sum().clamp(min=1.0), self.kappa)
        target = rho * deviation * direction.interpolate(direction.segments(table), z)
        terms = self.terms(x)  # (count, order)
        square, right = self._total(terms.T @ terms, terms.T @ target)
        square, right = square.double().cpu(), right.double().cpu()
        ridge = 1e-6 * square.diagonal().mean() * torch.eye(len(right), dtype=torch.float64)
        solution = torch.linalg.solve(square + ridge, right)
        if bool(usable) and bool(torch.isfinite(solution).all()):
            values = solution.to(self.coefficients)
            self.coefficients.copy_(values.reshape(-1, *[1] * len(self._shape())).expand_as(self.coefficients))
            self.initialised.fill_(True)

    def terms(self, x: Tensor) -> Tensor:
        """s·z^k·e^{-z²/2} for x of shape (count,), as (count, order)."""
        z = ((x - self.mean) / self.deviation).clamp(-REACH, REACH)
        powers = torch.arange(len(self.coefficients), device=x.device)
        return self.deviation * z[:, None] ** powers * torch.exp(-0.5 * z * z)[:, None]
