"""Pictures for papers, drawn by matplotlib in one style.

Colours follow Okabe & Ito (2008), which stay apart for colour-blind readers; lines also differ by dashes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.errors import NonlinError
from nonlin.zoo import Activation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
DASHES = ("-", "--", "-.", ":")
FORMATS = (".png", ".svg", ".pdf")
POINTS = 801


@contextmanager
def style() -> Iterator[None]:
    """The one style of all pictures; leaves the caller's matplotlib settings alone."""
    import matplotlib

    settings: Any = {
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
        "axes.axisbelow": True, "lines.linewidth": 1.6, "legend.frameon": False, "font.size": 9,
        "svg.fonttype": "none", "pdf.fonttype": 42, "figure.dpi": 150,
        "axes.formatter.useoffset": False, "axes.titlesize": 10,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def panels(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of its own, outside pyplot's global state, and its axes row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).ravel())


def curve(act: Activation, low: float, high: float, points: int = POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, f(x) and f'(x) at evenly spaced points, parameters at their initial values."""
    x = np.linspace(low, high, points)
    slope = act.derivative()
    return x, act(x), slope(x)


def plot_activations(
    acts: Sequence[Activation], path: str | Path, span: tuple[float, float] = (-5.0, 5.0), derivative: bool = True
) -> Path:
    """Draw functions, and their derivatives beside them, into a .png, .svg or .pdf file.

    Raises
    ------
    NonlinError : no function, unknown file type, or a folder that does not exist or cannot be written.
    """
    if not acts:
        raise NonlinError("there is no function to draw; name one or more, such as relu gelu 'x*tanh(x)'.")
    looks = [(COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)]) for n in range(len(acts))]
    return _draw(acts, [_label(act) for act in acts], looks, Path(path), span, derivative)


def plot_family(
    act: Activation,
    parameter: str,
    values: Sequence[float],
    path: str | Path,
    span: tuple[float, float] = (-5.0, 5.0),
    derivative: bool = True,
) -> Path:
    """Draw one function, and its derivative beside it, for several values of a parameter, from dark to light.

    Raises
    ------
    NonlinError : the function has no such parameter, no values, or as for `plot_activations`.
    """
    from matplotlib import colormaps

    if parameter not in act.parameters:
        known = ", ".join(act.parameters)
        remedy = f"it has: {known}" if known else "it has none, so there is nothing to vary"
        raise NonlinError(f"{act.name} has no parameter {parameter!r}; {remedy}.")
    if not values or not np.isfinite(values).all():
        raise NonlinError(f"values of {parameter} must be one or more finite numbers; got {list(values)}.")
    from nonlin.zoo.activation import with_initial

    family = [with_initial(act, {parameter: float(value)}) for value in values]
    shades = colormaps["viridis"](np.linspace(0.0, 0.88, len(values)))
    looks = [(tuple(shade), DASHES[n % len(DASHES)]) for n, shade in enumerate(shades)]
    others = ", ".join(f"{name} = {value:g}" for name, value in act.initial if name != parameter)
    title = f"{act.name}{f', {others}' if others else ''}"
    return _draw(family, [f"{parameter} = {value:g}" for value in values], looks, Path(path), span, derivative, title)


def _draw(
    acts: Sequence[Activation],
    labels: Sequence[str],
    looks: Sequence[tuple[Any, str]],
    path: Path,
    span: tuple[float, float],
    derivative: bool,
    title: str = "",
) -> Path:
    """One panel for the functions and one for their derivatives, with one legend."""
    checked_format(path)
    if not (np.isfinite(span).all() and span[0] < span[1]):
        raise NonlinError(f"the x axis must go from a smaller to a larger number; got {span[0]:g} to {span[1]:g}.")
    columns = min(len(acts), 4, max(1, 110 // max(map(len, labels)))) if derivative else min(len(acts), 2)
    rows = -(-len(acts) // columns)
    with style():
        width = 7.2 if derivative else 3.8
        figure, axes = panels(width, 2.6 + 0.19 * rows + (0.2 if title else 0), columns=2 if derivative else 1)
        shown: list[list[np.ndarray]] = [[], []]
        for act, label, (colour, dash) in zip(acts, labels, looks, strict=True):
            x, *values = curve(act, *span)
            for ax, y, kept in zip(axes, values, shown, strict=False):
                # a clipped line may not be cut where its points have no place in the file
                ax.plot(x, _broken(y), color=colour, linestyle=dash, label=label)
                kept.append(y)
        for ax, name, kept in zip(axes, ("f(x)", "f′(x)"), shown, strict=False):
            ax.set(title=name, xlabel="x", xlim=span, ylim=value_range(kept, span))
        if title:
            figure.suptitle(title, fontsize=10)
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=columns, fontsize=8, handlelength=2.6)
        return save(figure, path)


def _broken(values: np.ndarray) -> np.ndarray:
    """Values that a file can hold; none on either side of a pole, through which no line is to go."""
    out = np.where(np.abs(values) < 1e6, values, np.nan)
    with np.errstate(invalid="ignore"):
        step = np.abs(np.diff(out))
        pole = (step > 20) & (np.sign(out[1:]) != np.sign(out[:-1])) & (step > 100 * np.nanmedian(step))
    out[1:][pole] = np.nan
    return out


def checked_format(path: Path) -> None:
    """NonlinError unless the ending is one of `FORMATS` and the folder exists; asked before anything is computed."""
    if path.suffix.lower() not in FORMATS:
        raise NonlinError(f"cannot write {path}: the file must end with {', '.join(FORMATS)}.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise NonlinError(f"cannot write {path}: its folder does not exist, or you may not write there.")


def save(figure: Figure, path: Path) -> Path:
    """Write the figure; NonlinError if the file cannot be written."""
    try:
        figure.savefig(path)
    except OSError as error:
        raise NonlinError(f"cannot write {path}: {error.strerror or error}.") from None
    return path


def _label(act: Activation) -> str:
    values = ", ".join(f"{name}={value:g}" for name, value in act.initial)
    name = act.name if len(act.name) <= 40 else f"{act.name[:37]}..."
    return f"{name} ({values})" if values else name


def limit(ax: Axes, values: np.ndarray) -> None:
    """Keep one exploding function from flattening all others: show the middle 96% of values, padded."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return
    low, high = np.quantile(finite, [0.02, 0.98])
    spread = max(high - low, 0.1)
    ax.set_ylim(max(finite.min(), low - spread) - 0.06 * spread, min(finite.max(), high + spread) + 0.06 * spread)


def value_range(curves: Sequence[np.ndarray], span: tuple[float, float]) -> tuple[float, float]:
    """Limits of the y axis that show what can be compared, padded.

    A curve that is far taller than the others has no say, and no curve takes the picture farther from its middle
    than four times the reach of x: beyond, it leaves the picture.
    """
    finite = [values[np.isfinite(values)] for values in curves]
    bounds = [(*np.quantile(values, (0.01, 0.99)), values.min(), values.max()) for values in finite if values.size]
    if not bounds:
        return -1.0, 1.0
    heights = [high - low for low, high, *_ in bounds]
    usual = max(sorted(heights)[(len(heights) - 1) // 2], 0.1)
    most = max(6 * usual, 1.2 * (span[1] - span[0]))
    kept = [bound for bound, height in zip(bounds, heights, strict=True) if height <= most] or bounds
    low = min(max(bottom, low - 0.2 * (high - low)) for low, high, bottom, _ in kept)
    high = max(min(top, high + 0.2 * (high - low)) for low, high, _, top in kept)
    middle = float(np.median(np.concatenate(finite)))
    reach = 4 * max(abs(end) for end in span)
    low, high = max(low, middle - reach), min(high, middle + reach)
    pad = 0.06 * (high - low) or 0.1
    return float(low - pad), float(high + pad)
