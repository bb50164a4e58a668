"""Pictures, drawn by matplotlib in one style: files for papers, inline SVG for the report.

Colours follow Okabe & Ito (2008), which stay apart for colour-blind readers; lines also differ by dashes.
"""

from __future__ import annotations

import io
import re
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
# Colours that the report's style sheet sets, so that pictures follow light and dark.
INK, FAINT, FIRST, SECOND = "#010203", "#040506", "#070809", "#0a0b0c"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", FIRST: "var(--first)", SECOND: "var(--second)"}


@contextmanager
def style() -> Iterator[None]:
    """The one style of all pictures; leaves the caller's matplotlib settings alone."""
    import matplotlib

    settings: Any = {
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
        "axes.axisbelow": True, "lines.linewidth": 1.8, "legend.frameon": False, "font.size": 9,
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


def curve(act: Activation, low: float, high: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, f(x) and f'(x) at `POINTS` points, parameters at their initial values."""
    x = np.linspace(low, high, POINTS)
    slope = act.derivative()
    return x, act(x), slope(x)


def plot_activations(
    acts: Sequence[Activation], path: Path, span: tuple[float, float] = (-5.0, 5.0), derivative: bool = True
) -> Path:
    """Draw functions, and their derivatives beside them, into a .png, .svg or .pdf file.

    Raises
    ------
    NonlinError : unknown file type, or a folder that does not exist or cannot be written.
    """
    checked_format(path)
    with style():
        figure, axes = panels(9.0 if derivative else 5.0, 3.6, columns=2 if derivative else 1)
        shown: list[list[np.ndarray]] = [[], []]
        for number, act in enumerate(acts):
            look: dict[str, Any] = {
                "color": COLOURS[number % len(COLOURS)],
                "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
                "label": _label(act),
            }
            x, *values = curve(act, *span)
            for ax, y, kept in zip(axes, values, shown, strict=False):
                ax.plot(x, y, **look)
                kept.append(y)
        for ax, title, kept in zip(axes, ("f(x)", "f'(x)"), shown, strict=False):
            ax.set(title=title, xlabel="x", xlim=span)
            limit(ax, np.concatenate(kept))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(acts), 4))
        return save(figure, path)


def checked_format(path: Path) -> None:
    """NonlinError unless the file's ending is one of `FORMATS`; asked before anything is computed."""
    if path.suffix.lower() not in FORMATS:
        raise NonlinError(f"cannot write {path}: the file must end with {', '.join(FORMATS)}.")


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


# Inline SVG for the report


def shape_svg(act: Activation, title: str, span: tuple[float, float] = (-4.0, 4.0)) -> str:
    """A small picture of f (full line) and f' (dashed)."""
    x, y, slope = curve(act, *span)
    with style():
        figure, (ax,) = panels(2.6, 1.9)
        ax.axhline(0, color=FAINT, linewidth=0.8)
        ax.axvline(0, color=FAINT, linewidth=0.8)
        ax.plot(x, slope, color=SECOND, linestyle="--", linewidth=1.3)
        ax.plot(x, y, color=FIRST)
        limit(ax, np.concatenate([y, slope]))
        return inline_svg(figure, f"{title}: the function (full line) and its derivative (dashed)")


def lines_svg(series: Sequence[tuple[str, Sequence[float]]], xlabel: str, ylabel: str, log: bool = False) -> str:
    """Curves over epochs 1, 2, ..."""
    with style():
        figure, (ax,) = panels(6.4, 3.2)
        for number, (label, values) in enumerate(series):
            ax.plot(
                range(1, len(values) + 1), values, label=label, color=COLOURS[number % 6],
                linestyle=DASHES[number // 6 % len(DASHES)],
            )  # fmt: skip
        ax.set(xlabel=xlabel, ylabel=ylabel)
        if log:
            ax.set_yscale("log")
        ax.legend(fontsize=8, ncols=2)
        return inline_svg(figure, f"{ylabel} over {xlabel}: {', '.join(label for label, _ in series)}")


def progress_svg(
    numbers: Sequence[int], scores: Sequence[float], lines: Sequence[tuple[str, float]], ylabel: str
) -> str:
    """Each child's score in the order of the search, the best so far, and reference lines."""
    points = np.array(scores)
    best = np.fmax.accumulate(points)
    with style():
        figure, (ax,) = panels(6.4, 3.2)
        ax.plot(numbers, points, ".", color=FIRST, markersize=4, alpha=0.55, label="candidates")
        ax.plot(numbers, best, color=SECOND, drawstyle="steps-post", label="best so far")
        for number, (label, value) in enumerate(lines):
            ax.axhline(value, color=INK, linewidth=0.9, linestyle=DASHES[1 + number % 3], label=label)
        finite = points[np.isfinite(points)]
        if finite.size:
            low = max(np.quantile(finite, 0.25), finite.max() - 0.2)
            ax.set_ylim(low - 0.02, finite.max() + 0.01)
        ax.set(xlabel="children trained", ylabel=ylabel)
        ax.legend(fontsize=8, loc="lower right", ncols=2)
        return inline_svg(figure, f"{ylabel} of every candidate in the order of the search, with the best so far")


def inline_svg(figure: Figure, description: str) -> str:
    """The figure as an <svg> element that scales, follows the page's colours and has a text alternative."""
    from html import escape

    from matplotlib import rc_context

    for ax in figure.axes:
        for item in (ax.xaxis.label, ax.yaxis.label, ax.title, *ax.get_xticklabels(), *ax.get_yticklabels()):
            item.set_color(INK)
        for spine in ax.spines.values():
            spine.set_color(FAINT)
        ax.tick_params(colors=INK)
        if legend := ax.get_legend():
            for text in legend.get_texts():
                text.set_color(INK)
    stream = io.StringIO()
    with rc_context({"svg.hashsalt": description}):  # ids differ between pictures and not between runs
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    salt = f"{abs(hash_text(description)):x}"
    svg = re.sub(r'id="([\w.]+)"', rf'id="\1-{salt}"', svg)
    svg = re.sub(r'(href="#|url\(#)([\w.]+)', rf"\1\2-{salt}", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"font: [^;\"]*?(\d[\d.]*)px [^;\"]*", r"font: \1px var(--font)", svg)
    label = escape(description, quote=True)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()


def hash_text(text: str) -> int:
    """A small number that is the same in every process, unlike `hash`."""
    import zlib

    return zlib.crc32(text.encode())
