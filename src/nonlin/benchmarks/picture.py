"""The picture of a benchmark of strategies: how good the best function is after so many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nonlin.report.plot import COLOURS, DASHES, checked_format, panels, save, style

if TYPE_CHECKING:
    from nonlin.benchmarks.strategies import Measured

TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000)


def draw(found: Measured, path: Path) -> Path:
    """Mean regret of every strategy (of its logarithm) with 95% bootstrap bands, both axes logarithmic."""
    checked_format(path)
    generator = np.random.default_rng(0)
    with style():
        figure, (ax,) = panels(7.2, 4.4)
        lowest = 1.0
        for number, standing in enumerate(found.standings):
            logs = np.log10(standing.curves)
            draws = np.stack([logs[generator.integers(len(logs), size=len(logs))].mean(axis=0) for _ in range(400)])
            low, high = 10 ** np.quantile(draws, [0.025, 0.975], axis=0)
            x, line = np.arange(1, logs.shape[1] + 1), 10 ** logs.mean(axis=0)
            colour = COLOURS[number % len(COLOURS)]
            ax.plot(x, 100 * line, label=standing.name, color=colour, linestyle=DASHES[number % len(DASHES)])
            ax.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.13, linewidth=0)
            lowest = min(lowest, float(low.min()))
        ax.axhline(1.0, color="#777777", linewidth=0.8)
        ax.text(1.06, 1.05, "the best 1%", color="#555555", fontsize=8, va="bottom")
        ax.set(xscale="log", yscale="log", xlabel="functions trained", xlim=(1, found.budget))
        ax.set_ylabel("functions as good as the best found, or better (%)")
        ax.set_ylim(80 * lowest, 80)
        ax.set_xticks([t for t in TICKS if t <= found.budget], [f"{t:,}" for t in TICKS if t <= found.budget])
        ticks = [t for t in (0.03, 0.1, 0.3, 1, 3, 10, 30) if t > 80 * lowest]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.set_title(f"Search of core-1 on {found.table.task}: geometric mean of {found.repeats} runs, 95% intervals")
        ax.legend(loc="lower left")
        save(figure, path)
    return path
