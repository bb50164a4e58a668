"""Pictures of what goes on inside networks: a diagnosis, a record over training, panels of a lesson."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.errors import NonlinError, suggest
from nonlin.report.plot import COLOURS, DASHES, checked_format, panels, save, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = ("o", "s", "^", "D", "v", "P")
_MOST_ROWS = 12  # histograms above one another


@dataclass(frozen=True)
class Panel:
    """Lines over a common axis.

    Attributes
    ----------
    lines : (x values, y values) by label; values that are not finite leave gaps
    log : a logarithmic y axis; zeros leave gaps
    """

    title: str
    xlabel: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    log: bool = False


def plot_panels(found: Sequence[Panel], path: Path, columns: int = 2) -> Path:
    """Panels side by side, each line in its own colour, dash and marker.

    Raises
    ------
    NonlinError : unknown file type, or a file that cannot be written.
    """
    checked_format(path)
    with style():
        rows = math.ceil(len(found) / columns)
        figure, axes = panels(5.2 * columns, 3.5 * rows, rows=rows, columns=columns)
        for ax, panel in zip(axes, found, strict=False):
            for number, (label, (x, y)) in enumerate(panel.lines.items()):
                values = np.array([math.nan if v is None else v for v in y], dtype=float)
                values[~np.isfinite(values)] = np.nan
                ax.plot(
                    x,
                    np.where(values > 0, values, np.nan) if panel.log else values,
                    label=label,
                    **_look(number, len(values)),
                )
            _finish(ax, panel.title, panel.xlabel, panel.log)
            if len(panel.lines) > 1:
                ax.legend(fontsize=8)
        for ax in axes[len(found) :]:
            ax.set_visible(False)
        return save(figure, path)


def _look(number: int, points: int = 0) -> dict[str, Any]:
    """Colour, dash and marker of a line; of many points only some are marked."""
    return {
        "markevery": max(1, points // 12),
        "color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // 2 % len(DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)], "markersize": 3.2, "linewidth": 1.4,
    }  # fmt: skip


def _finish(ax: Axes, title: str, xlabel: str, log: bool = False) -> None:
    ax.set(title=title, xlabel=xlabel)
    if xlabel in ("layer", "epoch", "step"):
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        ax.set_yscale("log")


# A diagnosis, or several of one network at different times. `found` has `layers` and `weights`.

Series = Sequence[tuple[str, Any]]


def plot_diagnosis(series: Series, path: Path, quantity: str = "all") -> Path:
    """One quantity layer by layer, or all of them; several diagnoses lie over one another.

    Parameters
    ----------
    series : (label, Diagnosis) pairs; a single label may be empty

    Raises
    ------
    NonlinError : unknown quantity or file type, or a file that cannot be written.
    """
    checked_format(path)
    known_quantity(quantity)
    drawn = list(_DRAW) if quantity == "all" else [quantity]
    if not any(found.layers[0].parameters if found.layers else () for _, found in series) and quantity == "all":
        drawn.remove("parameters")
    with style():
        columns = min(len(drawn), 3)
        rows = math.ceil(len(drawn) / columns)
        figure, axes = panels(4.6 * columns + 0.6, 3.5 * rows, rows=rows, columns=columns)
        for ax, name in zip(axes, drawn, strict=False):
            _DRAW[name](ax, series)
        for ax in axes[len(drawn) :]:
            ax.set_visible(False)
        return save(figure, path)


def known_quantity(quantity: str, known: Iterable[str] = ()) -> None:
    """NonlinError unless `quantity` is "all" or one of `known`, by default those of a diagnosis."""
    names = [*(known or _DRAW), "all"]
    if quantity not in names:
        close = suggest(quantity, names)
        hint = f"Did you mean {close}?" if close else f"Known: {', '.join(names)}."
        raise NonlinError(f"cannot draw {quantity!r}: it is not a quantity of a diagnosis. {hint}")


def _along(rows: str, attribute: str, title: str, log: bool = False) -> Callable[[Axes, Series], None]:
    """Draws one number of each layer (or matrix of weights) over the layers in order."""

    def draw(ax: Axes, series: Series) -> None:
        names: list[str] = []
        drawn = False
        for number, (label, found) in enumerate(series):
            items = getattr(found, rows)
            names = [getattr(item, "title", None) or item.name for item in items]
            values = np.array([_number(getattr(item, attribute)) for item in items], dtype=float)
            values = np.where(values > 0, values, np.nan) if log else values
            drawn = drawn or bool(np.isfinite(values).any())
            ax.plot(range(len(values)), values, label=label or None, **_look(number))
        _finish(ax, title, "", log and drawn)
        _name_ticks(ax, names)
        if not drawn:
            ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color="0.4")
        elif len(series) > 1:
            ax.legend(fontsize=8)

    return draw


def _share(attribute: str, title: str) -> Callable[[Axes, Series], None]:
    line = _along("layers", attribute, title)

    def draw(ax: Axes, series: Series) -> None:
        line(ax, series)
        ax.set_ylim(-0.03, 1.03)

    return draw


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value


def _name_ticks(ax: Axes, names: Sequence[str]) -> None:
    """Every layer's name, or every few where there are many; long names keep their end."""
    names = _without_common_start(names)
    stride = max(1, math.ceil(len(names) / 14))
    places = range(0, len(names), stride)
    shown = [names[i] if len(names[i]) <= 18 else f"…{names[i][-17:]}" for i in places]
    turned = max((len(name) for name in shown), default=0) > 3
    ax.set_xticks(list(places), shown, rotation=60 if turned else 0, ha="right" if turned else "center")
    if turned:
        ax.tick_params(axis="x", labelsize=7)
    ax.set_xlabel("layer")


def _without_common_start(names: Sequence[str]) -> Sequence[str]:
    """transformer.h.0.mlp and transformer.h.1.mlp as 0.mlp and 1.mlp."""
    parts = [name.split(".")[:-1] for name in names]
    shared = 0
    while len(names) > 1 and all(len(part) > shared and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return [".".join(name.split(".")[shared:]) for name in names]


def _moments(ax: Axes, series: Series) -> None:
    """Mean as a line and one deviation to both sides as a band."""
    names: list[str] = []
    for number, (label, found) in enumerate(series):
        names = [layer.title for layer in found.layers]
        mean = np.array([_number(layer.mean) for layer in found.layers])
        std = np.array([_number(layer.std) for layer in found.layers])
        look = _look(number)
        ax.plot(range(len(mean)), mean, label=f"{label} mean ± deviation".strip(), **look)
        ax.fill_between(range(len(mean)), mean - std, mean + std, color=look["color"], alpha=0.18, linewidth=0)
    _finish(ax, "outputs: mean ± deviation", "")
    _name_ticks(ax, names)
    if len(series) > 1:
        ax.legend(fontsize=8)


def _entropy(ax: Axes, series: Series) -> None:
    names: list[str] = []
    for number, (label, found) in enumerate(series):
        names = [layer.title for layer in found.layers]
        for shift, what in enumerate("HJ"):
            values = [_number(getattr(layer, what)) for layer in found.layers]
            ax.plot(range(len(values)), values, label=f"{what} {label}".strip(), **_look(2 * number + shift))
    _finish(ax, "entropy of outputs (nats)", "")
    _name_ticks(ax, names)
    ax.legend(fontsize=8)


def _ridges(rows: Callable[[Any], list[tuple[str, Any]]], title: str) -> Callable[[Axes, Series], None]:
    """Draws histograms above one another, the first layer on top, on one x axis."""

    def draw(ax: Axes, series: Series) -> None:
        names: list[str] = []
        for number, (_, found) in enumerate(series):
            items = rows(found)
            kept = items[:: max(1, math.ceil(len(items) / _MOST_ROWS))]
            names = list(_without_common_start([name for name, _ in kept]))
            for place, (_, spread) in enumerate(kept):
                counts, edges = np.array(spread.counts, dtype=float), np.array(spread.edges)
                density = counts / np.maximum(np.diff(edges), 1e-300) if counts.sum() else counts
                height = 0.85 * density / max(float(density.max()), 1e-300)
                base = len(kept) - 1 - place
                look = COLOURS[number % len(COLOURS)]
                ax.stairs(base + height, edges, baseline=base, color=look, fill=True, alpha=0.25)
                ax.stairs(base + height, edges, baseline=base, color=look, linewidth=1.0)
        ax.set_yticks(range(len(names)), [n if len(n) <= 22 else f"…{n[-21:]}" for n in reversed(names)], fontsize=7)
        _finish(ax, title, "value")
        ax.set_ylim(-0.1, max(len(names), 1) + (0.45 if len(series) > 1 else 0.05))  # room for the legend
        if not names:
            ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center", color="0.4")
        elif len(series) > 1:
            from matplotlib.patches import Patch

            shown = [
                Patch(color=COLOURS[i % len(COLOURS)], alpha=0.5, label=label) for i, (label, _) in enumerate(series)
            ]
            ax.legend(handles=shown, fontsize=8, loc="upper center", ncols=len(shown))

    return draw


def _pre_activations(found: Any) -> list[tuple[str, Any]]:
    return [(layer.title, layer.pre_activations) for layer in found.layers]


def _parameters(found: Any) -> list[tuple[str, Any]]:
    return [
        (f"{layer.title} {name}", spread) for layer in found.layers if layer.call == 1
        for name, spread in layer.parameters.items()
    ]  # fmt: skip


_DRAW: dict[str, Callable[[Axes, Series], None]] = {
    "gradient": _along("weights", "gradient", "gradient of the weights (RMS)", log=True),
    "update": _along("weights", "update_ratio", "speed of learning |update|/|weight|", log=True),
    "dead": _share("dead", "dead units (share)"),
    "saturated": _share("saturated", "saturated places (share)"),
    "sparsity": _share("sparsity", "outputs that are 0 (share)"),
    "moments": _moments,
    "entropy": _entropy,
    "pre-activations": _ridges(_pre_activations, "pre-activations"),
    "parameters": _ridges(_parameters, "trained parameters of activations"),
}

_RECORD = {
    "gradient": ("gradient of the weights (RMS)", True),
    "update": ("speed of learning |update|/|weight|", True),
    "dead": ("dead units (share)", False),
    "saturated": ("saturated places (share)", False),
    "mean": ("mean of the outputs", False),
    "std": ("deviation of the outputs", False),
}


def plot_record(record: Any, path: Path, quantity: str = "all") -> Path:
    """The time series of a `Recorder`: one line for each layer, from the first (dark) to the last (light)."""
    from matplotlib import colormaps

    checked_format(path)
    known_quantity(quantity, _RECORD)
    drawn = list(_RECORD) if quantity == "all" else [quantity]
    with style():
        columns = min(len(drawn), 3)
        rows = math.ceil(len(drawn) / columns)
        figure, axes = panels(4.6 * columns + 0.6, 3.3 * rows, rows=rows, columns=columns)
        for ax, name in zip(axes, drawn, strict=False):
            title, log = _RECORD[name]
            layers = record.series[name]
            shades = colormaps["viridis"](np.linspace(0, 0.88, max(len(layers), 1)))
            for number, (shade, (layer, values)) in enumerate(zip(shades, layers.items(), strict=False)):
                y = np.array(values, dtype=float)
                y = np.where(np.isfinite(y) & ((y > 0) | (not log)), y, np.nan)
                named = number in (0, len(layers) - 1) or len(layers) <= 6
                ax.plot(record.steps[: len(y)], y, color=shade, label=layer if named else None, linewidth=1.3)
            _finish(ax, title, "step", log and bool(layers))
            if layers:
                ax.legend(fontsize=7, title=None if len(layers) <= 6 else "first and last layer", title_fontsize=7)
            if name in ("dead", "saturated"):
                ax.set_ylim(-0.03, 1.03)
        return save(figure, path)
