"""The named densities: one row per family, in nonlin's own language.

Every formula is in z = (x - loc)/scale; `density` puts the location and the scale in. Location and
scale mean what they mean in scipy.stats (uniform: the support is [loc, loc + scale]), so that a
formula here can be checked against it.

References: [Abramowitz1964] M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 1964.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nonlin.expr import Expr, parse, simplify, substitute
from nonlin.expr.tree import Const
from nonlin.expr.values import erf, erfc

Array = npt.NDArray[np.float64]
Quantile = Callable[[Array, float], Array]

EULER = 0.5772156649015329


@dataclass(frozen=True)
class Family:
    """One row: a standard density (loc 0, scale 1).

    Attributes
    ----------
    kernel : the density divided by its maximum, on its support
    peak : the maximum
    log_pdf, score : the logarithm of the density, and its derivative
    cdf, survival : P(Z <= z) and P(Z > z), each accurate in its own tail; None outside the language
    centred : 2*cdf - 1 where the language has a name for it
    quantile, upper_quantile : inverses of cdf and survival, as NumPy functions of (u, df)
    mean, variance : functions of df; NaN or infinite where they do not exist
    support, kinks : where the density lives, and where its derivative jumps inside
    """

    kernel: str
    peak: str
    log_pdf: str
    score: str
    cdf: str | None
    survival: str | None
    quantile: Quantile
    upper_quantile: Quantile
    centred: str | None = None
    mean: Callable[[float], float] = lambda df: 0.0
    variance: Callable[[float], float] = lambda df: 1.0
    support: tuple[float, float] = (-math.inf, math.inf)
    kinks: tuple[float, ...] = ()


def _mirrored(quantile: Quantile) -> Quantile:
    """The upper quantile of a density that is symmetric about 0."""
    return lambda u, df: -quantile(u, df)


def normal_quantile(u: Array, df: float = 0.0) -> Array:
    """The x with Phi(x) = u, to the last digit or two in both tails; -inf and inf at 0 and 1.

    [Abramowitz1964, eq. 26.2.23] is right to 4.5e-4, and each of two steps of Halley's method, in the smaller tail,
    triples the digits.
    """
    u = np.asarray(u, dtype=np.float64)
    with np.errstate(all="ignore"):
        tail = np.minimum(u, 1 - u)
        t = np.sqrt(-2 * np.log(tail))
        x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
        for _ in range(2):
            near = 0.5 * erf(x * math.sqrt(0.5)) + (0.5 - tail)  # Phi(x) - tail, exact where x is small,
            far = 0.5 * erfc(x * -math.sqrt(0.5)) - tail  # and where it is large
            step = np.where(tail > 0.25, near, far) * np.exp(0.5 * x * x) * math.sqrt(2 * math.pi)
            x = np.where(np.isfinite(step), x - step / (1 + 0.5 * x * step), x)
    x = np.where(tail == 0, -np.inf, np.where(tail == 0.5, 0.0, x))
    return x * np.where(u > 0.5, -1.0, 1.0)


def _student_quantile(u: Array, df: float) -> Array:
    from scipy.special import stdtrit

    if df == 1:
        return _cauchy_quantile(u, df)
    value = np.asarray(stdtrit(df, u))
    # Far out the series of the inverse is used: P(T < -t) = c·t^-df·(1 + O(t^-2)).
    far = u < 1e-15
    if np.any(far):
        log_c = (
            math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(math.pi * df)
            + (df + 1) / 2 * math.log(df) - math.log(df)
        )  # fmt: skip
        with np.errstate(divide="ignore", over="ignore"):
            value = np.where(far, -np.exp((log_c - np.log(u)) / df), value)
    return value


def _logistic_quantile(u: Array, df: float) -> Array:
    return np.log(u) - np.log1p(-u)


def _laplace_quantile(u: Array, df: float) -> Array:
    return np.where(u < 0.5, np.log(2 * u), -np.log(np.maximum(2 * (1 - u), 0)))


def _cauchy_quantile(u: Array, df: float) -> Array:
    near = np.minimum(u, 1 - u)
    return np.sign(u - 0.5) / np.tan(np.pi * near)


# fmt: off
FAMILIES: dict[str, Family] = {
    "normal": Family(
        "exp(-z**2/2)", "1/sqrt(2*pi)", "-z**2/2 - log(2*pi)/2", "-z", "Phi(z)", "Phi(-z)",
        normal_quantile, _mirrored(normal_quantile), centred="erf(z/sqrt(2))",
    ),
    "logistic": Family(
        "sech(z/2)**2", "1/4", "-softplus(z) - softplus(-z)", "-tanh(z/2)", "sigmoid(z)", "sigmoid(-z)",
        _logistic_quantile, _mirrored(_logistic_quantile), centred="tanh(z/2)",
        variance=lambda df: math.pi**2 / 3,
    ),
    "laplace": Family(
        "exp(-abs(z))", "1/2", "-abs(z) - log(2)", "-sign(z)",
        "where(z < 0, exp(-abs(z))/2, 1 - exp(-abs(z))/2)",
        "where(z < 0, 1 - exp(-abs(z))/2, exp(-abs(z))/2)",
        _laplace_quantile, _mirrored(_laplace_quantile), centred="-sign(z)*expm1(-abs(z))",
        variance=lambda df: 2.0, kinks=(0.0,),
    ),
    "uniform": Family(
        "1", "1", "0", "0", "clip(z, 0, 1)", "clip(1 - z, 0, 1)",
        lambda u, df: u, lambda u, df: 1 - u, centred="clip(2*z - 1, -1, 1)",
        mean=lambda df: 0.5, variance=lambda df: 1 / 12, support=(0.0, 1.0),
    ),
    "cauchy": Family(
        "1/(1 + z**2)", "1/pi", "-log1p(z**2) - log(pi)", "-2*z/(1 + z**2)",
        "0.5 + atan(z)/pi", "0.5 - atan(z)/pi",
        _cauchy_quantile, _mirrored(_cauchy_quantile), centred="2/pi*atan(z)",
        mean=lambda df: math.nan, variance=lambda df: math.inf,
    ),
    "gumbel": Family(
        "exp(1 - z - exp(-z))", "exp(-1)", "-z - exp(-z)", "expm1(-z)", "exp(-exp(-z))", "-expm1(-exp(-z))",
        lambda u, df: -np.log(-np.log(u)), lambda u, df: -np.log(-np.log1p(-u)),
        mean=lambda df: EULER, variance=lambda df: math.pi**2 / 6,
    ),
    "student_t": Family(
        "(1 + z**2/df)**(-(df + 1)/2)", "peak", "log(peak) - (df + 1)/2*log1p(z**2/df)",
        "-(df + 1)*z/(df + z**2)", None, None,
        _student_quantile, _mirrored(_student_quantile),
        mean=lambda df: 0.0 if df > 1 else math.nan,
        variance=lambda df: df / (df - 2) if df > 2 else math.inf,
    ),
}

# Student t has a distribution function in the language for small whole df: 2*cdf - 1, to be halved.
_STUDENT_CENTRED = {
    1.0: "2/pi*atan(z)",
    2.0: "z/sqrt(2 + z**2)",
    3.0: "2/pi*(sqrt(3)*z/(3 + z**2) + atan(z/sqrt(3)))",
    4.0: "z*(6 + z**2)/sqrt(4 + z**2)**3",
}
# fmt: on

ALIASES = {
    "gaussian": "normal", "norm": "normal", "sech2": "logistic", "double_exponential": "laplace",
    "t": "student_t", "student": "student_t", "studentt": "student_t", "gumbel_r": "gumbel",
    "lorentz": "cauchy",
}  # fmt: skip


def student_peak(df: float) -> float:
    """The density of Student's t at 0."""
    return math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)


def formula(family: str, which: str, argument: Expr, df: float) -> Expr | None:
    """The formula `which` of a family, with `argument` in place of z; None where there is none."""
    text = getattr(FAMILIES[family], which)
    if family == "student_t" and which in ("cdf", "survival", "centred") and df in _STUDENT_CENTRED:
        sign = {"cdf": "0.5 + ({})/2", "survival": "0.5 - ({})/2", "centred": "{}"}[which]
        text = sign.format(_STUDENT_CENTRED[df])
    if family == "student_t" and which == "kernel" and df > 100:
        text = "exp(-(df + 1)/2*log1p(z**2/df))"  # exponents of the language are bounded
    if text is None:
        return None
    values = {"z": argument, "df": Const(df), "peak": Const(student_peak(df) if df else 1.0)}
    return simplify(substitute(parse(text), values))
