"""Pictures of the benchmarks of speed: engines against plain PyTorch, a whole space, and the machine's roof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonlin.report.plot import COLOURS, checked_format, panels, save, style

if TYPE_CHECKING:
    from nonlin.benchmarks.children import Children
    from nonlin.benchmarks.roofline import Roofline
    from nonlin.benchmarks.space import WholeSpace

ENGINE_COLOURS = {"plain": "#777777", "fit": COLOURS[5], "cohort": COLOURS[0], "core": COLOURS[1]}
ENGINE_NAMES = {"plain": "plain PyTorch", "fit": "fit", "cohort": "cohort", "core": "core"}


def draw_children(found: Children, path: Path) -> Path:
    """Children per second over plain PyTorch's, bars by task and engine; a tick where the target is."""
    checked_format(path)
    bars = [(one.task, engine) for one in found.tasks for engine in one.engines if engine.engine != "plain"]
    with style():
        figure, (ax,) = panels(7.2, 1.1 + 0.34 * len(bars))
        labels = []
        for place, (task, engine) in enumerate(bars):
            ax.barh(place, engine.ratio, color=ENGINE_COLOURS[engine.engine], height=0.7)
            low, high = engine.ratio_range
            ax.plot([low, high], [place, place], color="#222222", linewidth=1)
            if engine.target:
                ax.plot([engine.target] * 2, [place - 0.45, place + 0.45], color="#222222", linewidth=2)
            end, target = max(high, engine.ratio), engine.target or 0.0
            beyond = target if end - 0.2 < target < end + 0.7 else end  # not across the tick
            ax.text(beyond + 0.12, place, f"{engine.ratio:.1f}", va="center")
            labels.append(f"{task}, {engine.engine}")
        ax.axvline(1, color="#777777", linewidth=1)
        ax.set_yticks(range(len(bars)), labels)
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        highest = max(max(engine.ratio_range[1], engine.target or 0) for _, engine in bars)
        ax.set_xlim(0, 1.1 * highest)
        ax.set_xlabel("children per second over plain PyTorch; line: range of the rounds; thick tick: target")
        ax.set_title(_first(found.machine))
        return save(figure, path)


def draw_space(found: WholeSpace, path: Path) -> Path:
    """The naive loop's time, the search's without and with halving, on a logarithmic axis."""
    checked_format(path)
    low, mean, high = found.naive_seconds
    bars = [("naive loop (estimated)", mean, "#777777")]
    if found.full_seconds is not None:
        bars.append(("search without halving", found.full_seconds, COLOURS[5]))
    bars.append(("search", found.seconds, COLOURS[0]))
    with style():
        figure, (ax,) = panels(7.2, 1.2 + 0.4 * len(bars))
        for place, (_, seconds, colour) in enumerate(bars):
            ax.barh(place, seconds, color=colour, height=0.65)
            ax.text(1.08 * (high if place == 0 else seconds), place, f"{seconds:,.0f} s", va="center")
        ax.plot([low, high], [0, 0], color="#222222", linewidth=1.2)
        ax.set_yticks(range(len(bars)), [name for name, _, _ in bars])
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.set(xscale="log", xlim=(min(1.0, found.seconds / 2), 4 * high))
        ax.set_xlabel("wall-clock seconds")
        ax.set_title(f"{found.expressions:,} expressions of {found.space} on {found.task}, {found.workers} workers")
        return save(figure, path)


def draw_roofline(found: Roofline, path: Path) -> Path:
    """Milliseconds of a child by each engine, over the least that the machine allows."""
    checked_format(path)
    with style():
        figure, axes = panels(7.2, 2.7, columns=len(found.tasks))
        for ax, one in zip(axes, found.tasks, strict=True):
            for place, (engine, (seconds, share)) in enumerate(one.engines.items()):
                ax.bar(place, 1 / share, color=ENGINE_COLOURS[engine], width=0.7)
                ax.text(place, 1.02 / share, _milliseconds(seconds), ha="center", va="bottom", fontsize=7)
            ax.axhline(1, color="#222222", linewidth=1.2)
            ax.set_xticks(range(len(one.engines)), list(one.engines), rotation=35, fontsize=8)
            ax.set_xlim(-0.7, len(one.engines) - 0.3)
            ax.grid(visible=False, axis="x")
            ax.set_title(f"{one.task}\nat least {_milliseconds(one.floor)}", fontsize=9)
            ax.set_ylim(0, 1.15 * max(1 / share for _, share in one.engines.values()))
        axes[0].set_ylabel("time of a child over the least")
        return save(figure, path)


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _first(machine: str) -> Any:
    """Processor and cores: the parts of a machine's name that a title has room for."""
    return ", ".join(machine.split(", ")[:2])
