"""All strategies on a table of core-1: how many children until a function of the best 1% is found?

    python benchmarks/strategies.py --make-table --seeds 0 1 2
    python benchmarks/strategies.py --repeats 50 --budget 300 --markdown --picture docs/strategies.svg

The table holds the validation score and loss of every distinct function of core-1 that is worth training, for several
seeds. A strategy is replayed on it: it asks, and is told what the table says for one seed. What is "best" is judged by
the mean over seeds, so that nobody is rewarded for one seed's luck. Proposals that are no new function cost nothing, as
in a search.

Intervals: 95% bootstrap over repetitions.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import nonlin as nl
from nonlin.expr import Expr, parse
from nonlin.expr.identity import IdentityIndex
from nonlin.run.loop import BASELINES
from nonlin.strategies import STRATEGIES, Strategy, space, strategy

TABLES = Path(__file__).parent / "tables"
FRUITLESS = 20_000  # proposals in a row that bring nothing new: the strategy is at its end


@dataclass
class Table:
    """Outcomes of `formulas` on one task: scores and losses (functions, seeds); NaN where a child diverged."""

    header: dict
    formulas: list[str]
    scores: np.ndarray
    losses: np.ndarray

    def __post_init__(self) -> None:
        self.index = IdentityIndex()
        self.rows: dict[str, int] = {}
        for row, formula in enumerate(self.formulas):
            self.rows[self.index.add(parse(formula))[0]] = row
        self.known: dict[str, int | None] = {}

    def row(self, expr: Expr) -> int | None:
        """The row of a function; None for one that is not worth training."""
        text = str(expr)
        if text not in self.known:
            key = self.index.find(expr)
            self.known[text] = None if key is None else self.rows[key]
        return self.known[text]

    def best(self, share: float, by: str, seeds: list[int]) -> set[int]:
        """Rows of the best `share` by the mean over `seeds` of the loss, or of the score and then the loss."""
        with np.errstate(invalid="ignore"):
            loss = np.nan_to_num(self.losses[:, seeds].mean(axis=1), nan=np.inf)
            score = np.nan_to_num(self.scores[:, seeds].mean(axis=1), nan=-np.inf)
        order = np.argsort(loss, kind="stable") if by == "loss" else np.lexsort((loss, -score))
        return set(order[: max(1, round(share * len(order)))].tolist())


# Making and reading tables


def make_table(task: str, seeds: list[int], path: Path) -> None:
    """Train every function of core-1 that is worth it to the end, once for each seed."""
    trials = {}
    for seed in seeds:
        study = nl.search(task, "core-1", halving=False, seed=seed, workers=2)
        trials[seed] = {trial.key: trial for trial in study.trials()}
    write_table(path, study, trials)


def write_table(path: Path, study: nl.Study, trials: dict[int, dict], commit: str = "") -> None:
    """One line for each function: formula, then score and loss for each seed; the header is a JSON comment."""
    seeds = list(trials)
    nulls = {key for key, trial in trials[seeds[0]].items() if trial.role == "null" and trial.formula in ("x", "1")}
    header = {
        "what": "validation score and loss of every distinct function of core-1 that is worth training",
        "seeds": seeds,
        "study": {k: v for k, v in study.config.as_dict().items() if k not in ("seed", "strategy", "budget", "also")},
        "provenance": study.provenance | ({"commit": commit} if commit else {}),
        "made_by": f"python benchmarks/strategies.py --make-table --task {study.config.task} "
        f"--seeds {' '.join(map(str, seeds))}",
    }
    text = io.StringIO()
    text.write(f"# {json.dumps(header, sort_keys=True)}\n")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["formula", *(f"{what}_{seed}" for seed in seeds for what in ("score", "loss"))])
    for key in sorted(trials[seeds[0]]):
        rows = [trials[seed][key] for seed in seeds if key in trials[seed]]
        if key not in nulls and len(rows) == len(seeds):
            cells = (f"{v:.{digits}f}" for row in rows for v, digits in ((row.score, 5), (row.loss, 5)))
            lines.writerow([rows[0].formula, *cells])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    print(f"{path}: {path.stat().st_size:,} bytes")


def read_table(path: Path) -> Table:
    first, *rest = gzip.decompress(path.read_bytes()).decode().splitlines()
    rows = list(csv.reader(rest))[1:]
    numbers = np.array([[float(cell) for cell in row[1:]] for row in rows])
    return Table(json.loads(first[2:]), [row[0] for row in rows], numbers[:, 0::2], numbers[:, 1::2])


# Replaying


@dataclass
class Replay:
    """What one strategy tried: rows in order, and the CPU seconds that took."""

    rows: list[int]
    seconds: float
    asks: int


def replay(
    table: Table, made: Strategy, budget: int, column: int, window: int, told: bool, stop: set[int] | None = None
) -> Replay:
    """Run a strategy on a table's seed.

    Parameters
    ----------
    column : which seed's outcomes it is told
    window : children out at a time; the answers come in the order asked
    told : tell it the well-known functions first, as a search does; they are not counted
    stop : end as soon as one of these rows is tried
    """
    begun = time.process_time()
    seen: set[int] = set()
    if told:
        for name in BASELINES:
            row = table.row(nl.activation(name).expr)
            if row is not None:
                seen.add(row)
                made.tell(nl.activation(name).expr, table.scores[row, column], table.losses[row, column])
    tried: list[int] = []
    out: list[tuple[Expr, int]] = []
    answered: set[int] = set(seen)
    fruitless = asks = 0
    while len(tried) < budget and fruitless < FRUITLESS:
        expr = made.ask()
        asks += 1
        if expr is None:
            break
        row = table.row(expr)
        if row is None:
            fruitless += 1
            made.tell(expr, math.nan, math.nan)
            continue
        if row in seen:
            fruitless += 1
            if row in answered:
                made.tell(expr, table.scores[row, column], table.losses[row, column])
            continue
        fruitless = 0
        seen.add(row)
        tried.append(row)
        if stop and row in stop:
            break
        out.append((expr, row))
        if len(out) >= window:
            asked, first = out.pop(0)
            answered.add(first)
            made.tell(asked, table.scores[first, column], table.losses[first, column])
    return Replay(tried, time.process_time() - begun, asks)


def first_hit(rows: list[int], best: set[int], budget: int) -> int:
    """Evaluations until a row of `best`; budget + 1 if there is none."""
    return next((k for k, row in enumerate(rows, start=1) if row in best), budget + 1)


# Reporting


def interval(values: np.ndarray, statistic: Callable, generator: np.random.Generator) -> tuple[float, float]:
    draws = [statistic(values[generator.integers(len(values), size=len(values))]) for _ in range(1000)]
    return float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975))


def regrets(rows: list[int], quality: np.ndarray, budget: int) -> np.ndarray:
    """Share of all functions that are better than the best tried so far, after 1, 2, ... evaluations."""
    best = np.minimum.accumulate(quality[rows]) if rows else np.array([1.0])
    return np.concatenate([best, np.full(budget - len(best), best[-1])])[:budget]


def picture(path: Path, curves: dict[str, np.ndarray], title: str) -> None:
    """Median share of better functions over evaluations, with 95% intervals of the median."""
    from nonlin.report.plot import COLOURS, DASHES, checked_format, panels, save, style

    checked_format(path)
    generator = np.random.default_rng(0)
    with style():
        figure, (ax,) = panels(6.8, 4.2)
        for number, (name, values) in enumerate(curves.items()):  # values (repetitions, budget)
            middle = np.median(values, axis=0)
            draws = np.stack(
                [np.median(values[generator.integers(len(values), size=len(values))], axis=0) for _ in range(300)]
            )
            low, high = np.quantile(draws, [0.025, 0.975], axis=0)
            x = np.arange(1, values.shape[1] + 1)
            colour = COLOURS[number]
            ax.plot(x, 100 * middle, color=colour, linestyle=DASHES[number % 4], label=name)
            ax.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.15, linewidth=0)
        ax.axhline(1.0, color="#777777", linewidth=0.8)
        ax.set(xscale="log", yscale="log", xlabel="children trained", ylabel="functions better than the best found (%)")
        ax.set_xlim(1, values.shape[1])
        ax.set_ylim(0.025, 60)
        ax.set_xticks([1, 3, 10, 30, 100, 300], ["1", "3", "10", "30", "100", "300"])
        ax.set_yticks([0.1, 1, 10, 50], ["0.1", "1", "10", "50"])
        ax.set_title(title)
        ax.legend(loc="lower left")
        save(figure, path)


def all_runs(job: tuple) -> list[Replay]:
    """All repetitions of one strategy, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    name, path, columns, options = job
    table, where = read_table(path), space("core-1")
    runs = []
    for repeat in range(options.repeats):
        made, column = strategy(name, where, options.offset + repeat), columns[repeat % len(columns)]
        stop = table.best(0.01, "loss", columns) if options.until_found else None
        runs.append(replay(table, made, options.budget, column, options.window, not options.untold, stop))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits-mlp")
    parser.add_argument("--table", type=Path, help="default: benchmarks/tables/core-1-TASK.csv.gz")
    parser.add_argument("--make-table", action="store_true", help="train all of core-1; minutes for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds of the table to use (with --make-table: to train)")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--window", type=int, default=1, help="children out at a time (a search has 16)")
    parser.add_argument("--untold", action="store_true", help="do not tell the well-known functions first")
    parser.add_argument("--until-found", action="store_true", help="stop each run at the first of the best 1% by loss")
    parser.add_argument("--workers", type=int, default=2, help="processes, one strategy each")
    parser.add_argument("--offset", type=int, default=1000, help="seed of the first repetition")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    path = options.table or TABLES / f"core-1-{options.task}.csv.gz"
    if options.make_table:
        make_table(options.task, options.seeds or [0, 1, 2], path)
        return
    table = read_table(path)
    columns = [table.header["seeds"].index(seed) for seed in options.seeds or table.header["seeds"]]
    best = {by: table.best(0.01, by, columns) for by in ("loss", "score")}
    with np.errstate(invalid="ignore"):
        loss = np.nan_to_num(table.losses[:, columns].mean(axis=1), nan=np.inf)
    quality = np.argsort(np.argsort(loss, kind="stable"), kind="stable") / len(loss) + 1 / len(loss)
    machine = table.header["provenance"]
    seeds = options.seeds or table.header["seeds"]
    print(
        f"{table.header['study']['task']}: {len(table.formulas)} functions, seeds {seeds}, "
        f"{options.repeats} repetitions, budget {options.budget}, {options.window} children at a time, "
        f"well-known functions {'not told' if options.untold else 'told'} first; "
        f"table by nonlin {machine['nonlin']} ({machine['commit']})\n"
    )
    pattern = "| {} | {} | {} | {} | {} | {} |" if options.markdown else "{:12} {:22} {:22} {:10} {:18} {}"
    names = ("to the best 1% (loss)", "to the best 1% (score)", "not found", "better at the end", "CPU ms per proposal")
    print(pattern.format("strategy", *names))
    if options.markdown:
        print("|---|---|---|---|---|---|")
    curves = {}
    jobs = [(name, path, columns, options) for name in options.strategies]
    with ProcessPoolExecutor(max_workers=options.workers, mp_context=get_context("spawn")) as pool:
        for name, runs in zip(options.strategies, pool.map(all_runs, jobs), strict=True):
            generator = np.random.default_rng(0)
            cells = []
            hits = {by: np.array([first_hit(run.rows, best[by], options.budget) for run in runs]) for by in best}
            for by in ("loss",) if options.until_found else ("loss", "score"):
                low, high = interval(hits[by], np.median, generator)
                cells.append(f"{np.median(hits[by]):.0f} ({low:.0f} to {high:.0f})")
            curves[name] = np.stack([regrets(run.rows, quality, options.budget) for run in runs])
            missed = (hits["loss"] > options.budget).mean()
            cost = 1000 * sum(run.seconds for run in runs) / sum(run.asks for run in runs)
            if options.until_found:
                cells += ["", f"{missed:.0%}", "", f"{cost:.1f}"]
            else:
                cells += [f"{missed:.0%}", f"{100 * np.median(curves[name][:, -1]):.2f}%", f"{cost:.1f}"]
            print(pattern.format(name, *cells), flush=True)
    if options.picture and not options.until_found:
        picture(options.picture, curves, f"Search of core-1 on {table.header['study']['task']}")


if __name__ == "__main__":
    main()
