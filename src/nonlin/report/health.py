"""The picture of a health card: the function, how variance travels, how correlation travels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.report.plot import COLOURS, checked_format, limit, panels, save, style

if TYPE_CHECKING:
    from nonlin.diagnosis.card import HealthCard

SPAN = (-5.0, 5.0)
_POINTS = 61


def plot_health(card: HealthCard, path: Path) -> Path:
    """Three panels: f with f', the variance map with its fixed points, the correlation map.

    Raises
    ------
    NonlinError : unknown file type, or a file that cannot be written.
    """
    checked_format(path)
    with style():
        figure, axes = panels(11.0, 3.7, columns=3)
        _draw_function(axes[0], card)
        _draw_variance(axes[1], card)
        _draw_correlation(axes[2], card)
        if card.sigma_w is not None:
            chosen = f"$\\sigma_w$ = {card.sigma_w:.4g}, $\\sigma_b$ = {card.sigma_b:.4g}"
            figure.suptitle(f"{_title(card)}   ({chosen})", fontsize=11)
        else:
            figure.suptitle(_title(card), fontsize=11)
        return save(figure, path)


def _title(card: HealthCard) -> str:
    name = card.name if len(card.name) <= 60 else f"{card.name[:57]}..."
    return name.replace("$", r"\$")


def _draw_function(ax: Any, card: HealthCard) -> None:
    low, high = _span(card)
    x = np.linspace(low, high, 1201)
    values, slopes = np.asarray(card.activation(x)), np.asarray(card.activation.derivative()(x))
    for b in card.breaks:  # lines do not bridge a jump, neither of f nor of f'
        at = int(np.searchsorted(x, b.x))
        if 0 < at < x.size - 1 and b.order <= 1:
            slopes[at] = np.nan
            if b.order == 0:
                values[at] = np.nan
    for left, right in card.dead:
        if max(left, low) < min(right, high):
            ax.axvspan(max(left, low), min(right, high), color="0.88", linewidth=0)
    scale = _scale(values, slopes)
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.plot(
        x,
        slopes / scale,
        color=COLOURS[1],
        linestyle="--",
        linewidth=1.4,
        label=f"f' / {scale:g}" if scale > 1 else "f'",
    )
    ax.plot(x, values, color=COLOURS[0], label="f")
    limit(ax, np.concatenate([values, slopes / scale]))
    ax.set(title="function; grey where |f'| < 0.001", xlabel="x", xlim=(low, high))
    ax.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="none")


def _span(card: HealthCard) -> tuple[float, float]:
    """SPAN, or of a function that turns very often a few turns."""
    near = sorted(abs(x) for x in card.turns)
    reach = near[9] if len(near) >= 12 and near[9] < 0.5 * SPAN[1] else SPAN[1]
    return -reach, reach


def _scale(values: np.ndarray, slopes: np.ndarray) -> float:
    """A round number that brings a steep slope down to the size of f; 1 for others."""
    f, slope = (np.quantile(np.abs(y[np.isfinite(y)]), 0.95) if np.isfinite(y).any() else 0.0 for y in (values, slopes))
    ratio = slope / f if f > 0 else 1.0
    return float(f"{ratio:.1g}") if ratio > 5 else 1.0


def _draw_variance(ax: Any, card: HealthCard) -> None:
    ax.set(title="variance map: growth V(q)/q in one layer", xlabel="q")
    if card.sigma_w is None:
        _nothing(ax, "E[f²] does not exist" if card.second_moment is None else "no $\\sigma_w$ keeps the variance")
        return
    points = [point for point in card.fixed_points if point.q > 0]
    near = [point.q for point in points if 0.05 <= point.q / card.q <= 20]
    low, high = 0.2 * min([card.q, *near]), 5.0 * max([card.q, *near])
    q = np.geomspace(low, high, _POINTS)
    mapped = [card.variance_map(float(at)) for at in q]
    growth = np.array([np.nan if value is None else value for value in mapped]) / q
    ax.axhline(1.0, color="0.6", linewidth=0.9, linestyle=":")
    ax.plot(q, growth, color=COLOURS[2])
    marks = {True: ("o", COLOURS[2], "stable"), False: ("o", "white", "unstable"), None: ("D", "0.7", "neutral")}
    seen: set[str] = set()
    for point in points:
        if low <= point.q <= high:
            shape, fill, label = marks[point.stable]
            ax.plot(
                point.q, 1.0, shape, markerfacecolor=fill, markeredgecolor=COLOURS[2], markersize=7,
                linestyle="none", label=None if label in seen else label,
            )  # fmt: skip
            seen.add(label)
    ax.set_xscale("log")
    _plain_ticks(ax, low, high)
    finite = growth[np.isfinite(growth)]
    if finite.size:  # a range of at least 10%, and one explosion does not flatten the rest
        bottom, top = min(float(finite.min()), 0.95), max(min(float(finite.max()), 6.0), 1.05)
        ax.set_ylim(bottom - 0.05 * (top - bottom), top + 0.05 * (top - bottom))
    if card.every_variance_fixed:
        ax.text(0.5, 0.6, "every variance is kept", ha="center", transform=ax.transAxes, color="0.35")
    if seen:
        ax.legend(fontsize=8)


def _plain_ticks(ax: Any, low: float, high: float) -> None:
    """1, 2, 5 and their multiples as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _draw_correlation(ax: Any, card: HealthCard) -> None:
    ax.set(title="correlation map C(c)", xlabel="c", ylabel="C(c)")
    if card.correlation_map is None:
        _nothing(ax, "no variance is kept" if card.second_moment is not None else "E[f²] does not exist")
        return
    c, mapped = np.array(card.correlation_map).T
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.9, linestyle=":")
    slope = "" if card.chi is None else f", slope at 1: $\\chi_1$ = {card.chi:.4g}"
    ax.plot(c, mapped, color=COLOURS[3])
    if card.correlation_limit is not None:
        at = card.correlation_limit
        ax.plot(at, at, "o", color=COLOURS[3], markersize=7, label=f"limit {at:.3g}", clip_on=False, linestyle="none")
        ax.legend(fontsize=8)
    ax.set(title=f"correlation map{slope}", xlim=(0, 1), ylim=(min(0.0, float(mapped.min())) - 0.02, 1.02))


def _nothing(ax: Any, reason: str) -> None:
    ax.text(0.5, 0.5, reason, ha="center", va="center", transform=ax.transAxes, color="0.35")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
