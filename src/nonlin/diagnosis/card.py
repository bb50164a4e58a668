"""`health`: what the numbers of an activation say about it, before anything is trained.

docs/health.md defines every number, with its formula and source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nonlin.diagnosis.cost import relative_cost, transcendentals
from nonlin.diagnosis.landscape import Break, survey
from nonlin.diagnosis.precision import HalfPrecision, half_precision
from nonlin.diagnosis.shape import Interval, saturated_share, shape
from nonlin.diagnosis.sheet import describe
from nonlin.diagnosis.signals import EdgeOfChaos, FixedPoint, Normalisation, Signals
from nonlin.diagnosis.tails import Tail
from nonlin.diagnosis.verdict import verdict
from nonlin.entropy import H, J, NumericActivation
from nonlin.entropy.curve import fixed_expression, resolve
from nonlin.errors import NonlinError
from nonlin.zoo import Activation
from nonlin.zoo.activation import with_initial

CORRELATIONS = (*(k / 20 for k in range(20)), 0.96, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
SMOOTHING = 0.1


@dataclass(frozen=True)
class HealthCard:
    """The numbers of one activation at its initial parameter values; Z ~ N(0, 1) is the pre-activation.

    None stands where a number does not exist or is infinite; a reason stands beside it where one is needed.

    Attributes
    ----------
    name, formula, parameters : the function
    mean, std, second_moment : E[f(Z)], its standard deviation, E[f(Z)²]
    gain, gain_variance : 1/√E[f²] and 1/std
    H, J : entropy of the output, and its scale-free form, seen through noise of 0.1 and 0.1·std; in nats
    q, sigma_w, sigma_b : the variance and the initialisation that the signal fields below are about
    edge : the edge of chaos whose fixed point is q
    fixed_points : of the variance map at (sigma_w, sigma_b), between 1e-4 and 1e4 and at 0
    every_variance_fixed : whether the variance map is V(q) = q
    chi : χ₁ at the fixed point: the factor on squared gradients in one layer
    phase : "ordered" (χ₁ < 1), "critical", "chaotic" (χ₁ > 1), or None
    depth_scale : 1/|ln χ₁|, in layers; None if it is infinite or does not exist
    correlation_map : pairs (c, C(c)) for c = 0, 0.05, ..., 0.95 and seven up to 1; None where it does not exist
    correlation_limit : the correlation that two inputs end with in a deep network
    normalisation : fixed point of (mean, variance) for normalised weights, in the sense of SELU
    lipschitz, lipschitz_at : sup|f'|, and where it is reached (None: only approached); infinite is None, and
        `lipschitz_at` then names the jump, pole or vertical tangent, or is None for growth
    max_curvature : sup|f''|, the Lipschitz bound of the gradient
    monotone : "increasing", "decreasing" (neither strictly), "constant" or "no"
    turns, countless_turns : where f' changes sign, and whether endlessly often
    left, right : what f does at -inf and at +inf
    lower, lower_at, upper, upper_at : infimum and supremum, and where they are reached
    bounded_below, bounded_above : whether they are finite
    zeros, zero_intervals, countless_zeros : where f is 0; of countless zeros those nearest to 0
    smoothness : "discontinuous", "C0", "C1", "C2" or "smooth"
    breaks, countless_breaks : where and how f is not smooth
    dead, dead_share : wide intervals with |f'| < 1e-3, and P(|f'(Z)| < 1e-3)
    saturated_share : P(|f'(Z)| < 0.1·√E[f'²])
    zero_share : P(f(Z) = 0): the sparsity of the output
    undefined, undefined_share : where f has no value, and how likely that is
    float16, bfloat16 : behaviour in half precision
    transcendentals : transcendental functions in one value; None for a table
    cost : time of forward and backward over that of ReLU, if it was measured
    """

    activation: Activation | NumericActivation = field(repr=False)
    name: str
    formula: str
    parameters: dict[str, float]
    mean: float | None
    std: float | None
    second_moment: float | None
    gain: float | None
    gain_variance: float | None
    H: float | None
    J: float | None
    q: float
    sigma_w: float | None
    sigma_b: float
    edge: EdgeOfChaos
    fixed_points: tuple[FixedPoint, ...]
    every_variance_fixed: bool
    chi: float | None
    phase: str | None
    depth_scale: float | None
    correlation_map: tuple[tuple[float, float], ...] | None
    correlation_limit: float | None
    normalisation: Normalisation | None
    lipschitz: float | None
    lipschitz_at: float | None
    max_curvature: float | None
    monotone: str
    turns: tuple[float, ...]
    countless_turns: bool
    left: Tail
    right: Tail
    lower: float | None
    lower_at: float | None
    upper: float | None
    upper_at: float | None
    bounded_below: bool
    bounded_above: bool
    zeros: tuple[float, ...]
    zero_intervals: tuple[Interval, ...]
    countless_zeros: bool
    smoothness: str
    breaks: tuple[Break, ...]
    countless_breaks: bool
    dead: tuple[Interval, ...]
    dead_share: float
    saturated_share: float | None
    zero_share: float
    undefined: tuple[Interval, ...]
    undefined_share: float
    float16: HalfPrecision
    bfloat16: HalfPrecision
    transcendentals: int | None
    cost: float | None

    def words(self) -> tuple[list[str], list[str]]:
        """Advantages and drawbacks, each a sentence that follows from a number of the card."""
        return verdict(self)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, text, lists and dictionaries with advantages and drawbacks; None for what is infinite."""
        found = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "activation"}
        advantages, drawbacks = self.words()
        return {**found, "advantages": advantages, "drawbacks": drawbacks}

    def plot(self, path: str | Path) -> Path:
        """Draw f and f', the variance map and the correlation map into a .png, .svg or .pdf file."""
        from nonlin.report.health import plot_health

        return plot_health(self, Path(path))

    def variance_map(self, q: float) -> float | None:
        """V(q) at the card's sigma_w and sigma_b; None where it does not exist."""
        if self.sigma_w is None:
            return None
        return Signals(survey(self.activation)).variance_map(q, self.sigma_w, self.sigma_b)

    def __str__(self) -> str:
        return describe(self)


def health(
    f: Activation | NumericActivation | str,
    *,
    q: float = 1.0,
    sigma_w: float | None = None,
    sigma_b: float | None = None,
    measure_cost: bool = False,
    **parameters: float,
) -> HealthCard:
    """The health card of an activation.

    Parameters
    ----------
    f : name, formula or activation
    q : variance of the pre-activations for which gains of the edge of chaos are sought
    sigma_w, sigma_b : initialisation for the maps of variance and correlation; by default sigma_b = 0 and the
        sigma_w that keeps the variance at q, √(q/E[f(√q Z)²])
    measure_cost : also time the module against ReLU for about 0.2 s; all else is the same every time
    parameters : initial values other than those of `f`

    Raises
    ------
    NonlinError : for a name, formula or parameter that is not known, or a number out of range

    >>> card = health("relu")
    >>> card.lipschitz, card.zero_share, card.edge.sigma_b
    (1.0, 0.5, 0.0)
    """
    act = _resolved(f, parameters)
    _check(q=q, sigma_w=sigma_w, sigma_b=sigma_b)
    land = survey(act)
    found, signals = shape(land), Signals(land)
    mean, second = signals.moments(1.0)
    std = None if mean is None or second is None else math.sqrt(max(second - mean * mean, 0.0))
    square = signals.average(lambda x: land.curve.slope(x) ** 2, 1.0)
    saturated = None if not square else saturated_share(land, square)
    return HealthCard(
        activation=act, name=act.name, formula=act.formula, parameters=dict(act.parameters),
        mean=mean, std=std, second_moment=second, gain=_over_root(second),
        gain_variance=None if std is None or second is None or std**2 <= 1e-24 * second else 1 / std,
        H=_entropy(H, act, mean), J=_entropy(J, act, mean),
        **_signal_fields(signals, q, sigma_w, sigma_b), normalisation=signals.normalisation(),
        lipschitz=_finite(found.lipschitz.value), lipschitz_at=found.lipschitz.at,
        max_curvature=_finite(found.curvature.value), monotone=found.monotone,
        turns=found.turns, countless_turns=found.countless_turns, left=found.left, right=found.right,
        lower=_finite(found.lowest.value), lower_at=found.lowest.at,
        upper=_finite(found.highest.value), upper_at=found.highest.at,
        bounded_below=math.isfinite(found.lowest.value), bounded_above=math.isfinite(found.highest.value),
        zeros=found.zeros, zero_intervals=found.zero_intervals, countless_zeros=found.countless_zeros,
        smoothness=land.smoothness, breaks=land.breaks, countless_breaks=land.countless_breaks,
        dead=found.dead, dead_share=found.dead_share, saturated_share=saturated, zero_share=found.zero_share,
        undefined=found.undefined, undefined_share=found.undefined_share,
        float16=half_precision(act, land.curve, "float16"), bfloat16=half_precision(act, land.curve, "bfloat16"),
        transcendentals=transcendentals(fixed_expression(act)) if isinstance(act, Activation) else None,
        cost=relative_cost(act) if measure_cost else None,
    )  # fmt: skip


def _resolved(f: Any, parameters: dict[str, float]) -> Activation | NumericActivation:
    if isinstance(f, str):
        from nonlin.zoo import activation

        return activation(f, **parameters)
    act = resolve(f)
    if isinstance(act, Activation):
        return with_initial(act, parameters)
    if parameters:
        raise NonlinError(f"{act.name} is a table and has no parameter {next(iter(parameters))!r}.")
    return act


def _check(**numbers: float | None) -> None:
    for name, value in numbers.items():
        low = "0 or above" if name == "sigma_b" else "above 0"
        if value is None:
            continue
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or value < 0 or (value == 0 and name != "sigma_b"):
            raise NonlinError(f"{name}={value!r} must be a finite number {low}.")


def _signal_fields(signals: Signals, q: float, sigma_w: float | None, sigma_b: float | None) -> dict[str, Any]:
    """The fields of the card about variance and correlation."""
    bias = 0.0 if sigma_b is None else float(sigma_b)
    if sigma_w is None:  # the weights that keep the variance at q
        second = signals.moments(q)[1]
        room = q - bias**2
        sigma_w = math.sqrt(room / second) if second is not None and second > 1e-24 and room > 0 else None
    fields_: dict[str, Any] = {
        "q": float(q), "sigma_w": sigma_w, "sigma_b": bias, "edge": signals.edge(q), "fixed_points": (),
        "every_variance_fixed": False, "chi": None, "phase": None, "depth_scale": None, "correlation_map": None,
        "correlation_limit": None,
    }  # fmt: skip
    if sigma_w is None:
        return fields_
    points, every = signals.fixed_points(sigma_w, bias)
    fields_ |= {"fixed_points": points, "every_variance_fixed": every}
    at = q if every else _nearest(points, q)
    if at is None:
        return fields_
    square = signals.slope_square(at)
    chi = None if square is None else sigma_w**2 * square
    c = np.array(CORRELATIONS)
    correlated = signals.correlation_map(c, at, sigma_w, bias)
    if chi is not None:
        phase = "critical" if abs(chi - 1) < 1e-6 else "ordered" if chi < 1 else "chaotic"
        scale = None if phase == "critical" or chi <= 0 else 1 / abs(math.log(chi))
        fields_ |= {"chi": chi, "phase": phase, "depth_scale": scale}
    if correlated is not None:
        fields_["correlation_map"] = tuple(zip(CORRELATIONS, map(float, correlated), strict=True))
        fields_["correlation_limit"] = signals.correlation_limit(chi, at, sigma_w, bias)
    return fields_


def _nearest(points: tuple[FixedPoint, ...], q: float) -> float | None:
    """The positive fixed point nearest to q."""
    positive = [point.q for point in points if point.q > 0]
    return min(positive, key=lambda at: abs(math.log(at / q)), default=None)


def _entropy(measure: Any, act: Any, mean: float | None) -> float | None:
    if mean is None:
        return None
    try:
        return _finite(float(measure(act, "normal", smoothing=SMOOTHING)))
    except NonlinError:  # a constant, or an output without a variance
        return None


def _over_root(second: float | None) -> float | None:
    return None if second is None or second <= 1e-24 else 1 / math.sqrt(second)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return _finite(value) if isinstance(value, float) else value
