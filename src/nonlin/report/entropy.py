"""Pictures of what entropy says: a derivation at a glance, and a worst activation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.entropy import H, J, overlap
from nonlin.errors import NonlinError
from nonlin.report.plot import COLOURS, checked_format, limit, panels, save, style
from nonlin.zoo import Activation

if TYPE_CHECKING:
    from nonlin.entropy import Density, Improvement

SMOOTHING = 0.1  # nats are compared on outputs seen through a little noise: atoms have no entropy otherwise
STEPS = 13
_DRAWS, _EXACT = ((np.arange(count) + 0.5) / count for count in (40_000, 2000))


def plot_improvement(found: Improvement, path: Path) -> Path:
    """Six panels: densities, functions, the correction, entropy along eps, scale-free entropy, class overlap.

    Raises
    ------
    NonlinError : unknown file type, or a file that cannot be written.
    """
    checked_format(path)
    low, high = _span(found.density)
    x = np.linspace(low, high, 601)
    amplitudes = np.linspace(-0.5, 0.5, STEPS)
    family = [_at(found, float(eps)) for eps in amplitudes]
    with style():
        figure, axes = panels(11.0, 6.2, rows=2, columns=3)
        _draw_densities(axes[0], found)
        axes[1].plot(x, found.base(x), color=COLOURS[0], label=found.base.name)
        for eps, dash in ((0.5, "--"), (-0.5, ":")):
            axes[1].plot(x, _at(found, eps)(x), color=COLOURS[1], linestyle=dash, label=f"eps = {eps:g}")
        axes[1].set(title="the function and its improvement", xlabel="x")
        axes[2].axhline(0, color="0.6", linewidth=0.8)
        axes[2].plot(x, found.direction(x), color=COLOURS[2])
        axes[2].set(title="the correction u(x)", xlabel="x")
        raw = [H(act, found.density, smoothing=SMOOTHING) for act in family]
        free = [J(act, found.density, smoothing=SMOOTHING) for act in family]
        _along(axes[3], amplitudes, raw, f"entropy H, smoothed by {SMOOTHING:g} (nats)")
        _along(axes[4], amplitudes, free, f"scale-free J, smoothed by {SMOOTHING:g}·sd (nats)")
        errors = [_bayes_error(act, found.density) for act in family[::2]]
        _along(axes[5], amplitudes[::2], errors, "Bayes error of p against p + 1.5 IQR")
        axes[0].legend(fontsize=8)
        axes[1].legend(fontsize=8)
        return save(figure, path)


def plot_worst(act: Any, density: Density, path: Path) -> Path:
    """The worst activation, the density it belongs to, and the density of its output."""
    checked_format(path)
    low, high = _span(density)
    x = np.linspace(low, high, 601)
    outputs = np.asarray(act(_draws(density)))
    with style():
        figure, axes = panels(10.0, 3.2, columns=3)
        axes[0].plot(x, density.pdf(x), color=COLOURS[0])
        axes[0].set(title=f"density of x: {density.name}", xlabel="x")
        axes[1].plot(x, act(x), color=COLOURS[1])
        axes[1].set(title=f"worst activation: {act.name}", xlabel="x")
        axes[2].hist(outputs, bins=60, density=True, color=COLOURS[2], alpha=0.75)
        axes[2].set(title="density of its output", xlabel="y")
        return save(figure, path)


def _draws(density: Density) -> np.ndarray:
    """Quantiles at evenly spaced probabilities, most of them on straight lines between others: exact ones of samples
    take half a millisecond each.
    """
    exact = np.concatenate([_DRAWS[:1], _EXACT, _DRAWS[-1:]])
    return np.interp(_DRAWS, exact, np.asarray(density.quantile(exact)))


def _span(density: Density) -> tuple[float, float]:
    low, high = (float(density.quantile(u)) for u in (0.002, 0.998))
    pad = 0.15 * (high - low)
    return low - pad, high + pad


def _at(found: Improvement, eps: float) -> Activation:
    """The improved activation with its amplitude at `eps`."""
    act = found.activation
    name = act.initial[-1][0]
    return Activation(act.name, act.expr, tuple((key, eps if key == name else value) for key, value in act.initial))


def _draw_densities(ax, found: Improvement) -> None:
    """Input density as a line, output densities before and after as histograms of a fine grid of quantiles."""
    low, high = _span(found.density)
    x = np.linspace(low, high, 601)
    inputs = _draws(found.density)
    before, after = np.asarray(found.base(inputs)), np.asarray(_at(found, 0.5)(inputs))
    left, right = np.quantile(np.concatenate([before, after]), [0.002, 0.998])
    edges = np.linspace(float(left), float(right), 90)
    ax.plot(x, found.density.pdf(x), color="0.45", linewidth=1.2, label="x")
    ax.hist(before, bins=edges, density=True, histtype="step", color=COLOURS[0], label="f(x)")
    ax.hist(after, bins=edges, density=True, histtype="step", color=COLOURS[1], label="improved, eps = 0.5")
    highest = float(np.max(found.density.pdf(x)))
    ax.set_ylim(0, 4 * highest)  # an atom, such as ReLU's at 0, would hide everything else
    ax.set(title="densities", xlabel="value")


def _along(ax, amplitudes: np.ndarray, values: list[float], title: str) -> None:
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.plot(amplitudes, values, color=COLOURS[4], marker=".")
    ax.set(title=title, xlabel="eps")
    limit(ax, np.array(values))


def _bayes_error(act: Activation, density: Density) -> float:
    """Error of the best classifier of two classes: the density moved by ±3/4 of its interquartile range."""
    from nonlin.entropy import density as make

    quartiles = float(density.quantile(0.75)) - float(density.quantile(0.25))
    step = 1.5 * quartiles
    points = np.asarray(density.quantile(_EXACT))
    family = density.name if density.name in ("normal", "logistic", "laplace", "cauchy", "gumbel") else None
    centre = float(density.quantile(0.5))
    try:
        if family:
            scale = quartiles / _QUARTILES[family]
            shift = _MEDIAN_SHIFT[family] * scale
            first, second = (make(family, loc=centre - shift + move, scale=scale) for move in (-step / 2, step / 2))
        else:
            first, second = (make(points + move) for move in (-step / 2, step / 2))
        return overlap(act, first, second).bayes_error
    except NonlinError:
        return math.nan


# Interquartile range and median of each family at loc 0 and scale 1
_QUARTILES = {
    "normal": 1.3489795003921634, "logistic": 2 * math.log(3), "laplace": 2 * math.log(2), "cauchy": 2.0,
    "gumbel": math.log(math.log(4)) - math.log(math.log(4 / 3)),
}  # fmt: skip
_MEDIAN_SHIFT = {"normal": 0.0, "logistic": 0.0, "laplace": 0.0, "cauchy": 0.0, "gumbel": -math.log(math.log(2))}
