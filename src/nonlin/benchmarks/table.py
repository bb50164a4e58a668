"""Tables: outcomes of the functions of `core-1` on one task, on which strategies are measured without training.

A table is a gzipped CSV file: its first line is a comment with JSON (what was trained, on which data, by which version,
on which machine, and the command that remakes it), its second names the columns, and each further one holds a formula
and, for each seed, validation score and loss; nan where a child diverged. `TABLES` is where those of the project are.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nonlin.errors import NonlinError
from nonlin.expr import Expr, parse
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.strategies.listing import Exhaustive
from nonlin.strategies.spaces import Space

if TYPE_CHECKING:
    from nonlin.run import Study, Trial
    from nonlin.run.executor import Executor
    from nonlin.run.loop import Watcher

TABLES = Path(__file__).parent / "tables"
UNKNOWN = -1  # the row of a function that is worth training and not in a table that is not complete


@dataclass
class Table:
    """Outcomes of `formulas` on one task.

    Attributes
    ----------
    header : what was trained, how, and by what
    scores, losses : (functions, seeds); NaN where a child diverged
    """

    header: dict[str, Any]
    formulas: list[str]
    scores: np.ndarray
    losses: np.ndarray

    def __post_init__(self) -> None:
        self.index = IdentityIndex()
        self.rows: dict[str, int] = {}
        for number, formula in enumerate(self.formulas):
            self.rows[self.index.add(parse(formula))[0]] = number
        self.known: dict[str, int | None] = {}

    @property
    def task(self) -> str:
        return self.header["study"]["task"]

    @property
    def seeds(self) -> list[int]:
        return self.header["seeds"]

    @property
    def is_complete(self) -> bool:
        return bool(self.header.get("complete", True))

    def row(self, expr: Expr) -> int | None:
        """The row of a function; None for one that is not worth training, `UNKNOWN` for one that is missing."""
        text = str(expr)
        if text not in self.known:
            key = self.index.find(expr)
            missing = UNKNOWN if not self.is_complete and kind(expr) == "ordinary" else None
            self.known[text] = missing if key is None else self.rows[key]
        return self.known[text]

    def mean_losses(self) -> np.ndarray:
        """(functions,): mean loss over the seeds; infinite where a child diverged."""
        return np.nan_to_num(self.losses.mean(axis=1), nan=np.inf)

    def best(self, share: float) -> set[int]:
        """Rows of the best `share` of all functions by mean loss; at least one."""
        order = np.argsort(self.mean_losses(), kind="stable")
        return set(order[: max(1, round(share * len(order)))].tolist())

    def quality(self) -> np.ndarray:
        """(functions,): the share of all functions that are at least as good, by mean loss; small is good."""
        order = np.argsort(self.mean_losses(), kind="stable")
        found = np.empty(len(order))
        found[order] = np.arange(1, len(order) + 1) / len(order)
        return found


def find_table(task: str) -> Path:
    """The project's table of a task; NonlinError with those there are."""
    path = TABLES / f"core-1-{task}.csv.gz"
    if not path.exists():
        there = sorted(p.name.removeprefix("core-1-").removesuffix(".csv.gz") for p in TABLES.glob("core-1-*.csv.gz"))
        raise NonlinError(
            f"there is no table of task {task!r}; there is one of {', '.join(there)}. Make it with: "
            f"nonlin bench table --task {task} --output {task}.csv.gz, and give it with --table."
        )
    return path


def read_table(path: str | Path) -> Table:
    """Read a table; NonlinError for what is none."""
    try:
        first, _, *rest = gzip.decompress(Path(path).read_bytes()).decode().splitlines()
        rows = list(csv.reader(rest))
        numbers = np.array([[float(cell) for cell in row[1:]] for row in rows])
        return Table(json.loads(first.removeprefix("# ")), [row[0] for row in rows], numbers[:, 0::2], numbers[:, 1::2])
    except FileNotFoundError:
        raise NonlinError(f"there is no file {path}. Make a table with: nonlin bench table --output {path}") from None
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise NonlinError(
            f"{path} cannot be read as a table ({type(error).__name__}: {error}). A table is what 'nonlin bench table' "
            "writes."
        ) from None


class SameOrder(Exhaustive):
    """The functions of a space in one order for all seeds, so that a partial table has the same ones for each."""

    def __init__(self, space: Space, seed: int = 0):
        super().__init__(space, 0)


def make_table(
    task: str,
    seeds: list[int],
    path: str | Path,
    store: str | Path,
    limit: int | None = None,
    crew: Executor | None = None,
    watcher: Watcher | None = None,
) -> Table:
    """Train every function of core-1 that is worth it to the end, once for each seed, and write the table.

    What is trained is kept in `store`, so that an interrupted call continues where it was, and a call with a larger
    `limit` trains only what is new.

    Parameters
    ----------
    limit : how many functions, for a table that is not complete; None for all
    crew : what trains; None for this process
    """
    from nonlin.run import search

    path = Path(path)
    if not path.parent.is_dir():
        raise NonlinError(
            f"cannot write {path}: there is no folder {path.parent}. Make it first, or give another path."
        )
    if not seeds:
        raise NonlinError("a table needs at least one seed, as in --seeds 0,1,2.")
    studies = [
        search(task, "core-1", SameOrder, limit, seed, store, crew or 0, halving=False, watcher=watcher)
        for seed in seeds
    ]
    path.write_bytes(as_bytes(studies, limit))
    return read_table(path)


def as_bytes(studies: list[Study], limit: int | None) -> bytes:
    """The table of studies that differ in their seeds only."""
    seeds = [study.config.seed for study in studies]
    trials = [{trial.key: trial for trial in study.trials()} for study in studies]
    keys = sorted(key for key in trials[0] if all(key in other for other in trials))
    rows = [[found[key] for found in trials] for key in keys if trials[0][key].formula not in ("x", "1")]
    config = studies[0].config
    complete = limit is None or len(rows) >= studies[0].census["worth_training"]
    header = {
        "what": "validation score and loss of "
        + ("every distinct function of core-1" if complete else f"{len(rows)} distinct functions of core-1, drawn at "
           "random from those") + f" worth training, on {config.task}",
        "complete": complete,
        "seeds": seeds,
        "study": {k: v for k, v in config.as_dict().items() if k not in ("seed", "strategy", "budget", "also")},
        "provenance": studies[0].provenance,
        "made_by": f"nonlin bench table --task {config.task} --seeds {','.join(map(str, seeds))}"
        + ("" if limit is None else f" --limit {limit}"),
    }  # fmt: skip
    text = io.StringIO()
    text.write(f"# {json.dumps(header, sort_keys=True)}\n")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["formula", *(f"{what}_{seed}" for seed in seeds for what in ("score", "loss"))])
    for row in rows:
        lines.writerow([row[0].formula, *(cell for trial in row for cell in _cells(trial))])
    return gzip.compress(text.getvalue().encode(), mtime=0)


def _cells(trial: Trial) -> tuple[str, str]:
    if trial.status != "ok":
        return "nan", "nan"
    return f"{trial.score:.5f}", f"{trial.loss:.5f}"


def check_table(table: Table, count: int = 20, seed: int = 0, engine: str | None = None) -> list[dict[str, Any]]:
    """Train `count` random functions of a table again, each with one of its seeds; what the table says and what came.

    On the machine that made the table the two are equal to the digits kept; another processor rounds otherwise, and
    over a training such differences grow. So it is with another `engine` than the table's own.
    """
    from nonlin.run.job import Job
    from nonlin.tasks import task as task_by_name
    from nonlin.zoo import activation

    task, study = task_by_name(table.task), table.header["study"]
    generator, found = np.random.default_rng(seed), []
    for row in generator.choice(len(table.formulas), size=min(count, len(table.formulas)), replace=False):
        column = int(generator.integers(len(table.seeds)))
        formula = table.formulas[row]
        job = Job(
            number=0, formula=formula, initial=activation(formula).parameters, seed=table.seeds[column],
            normalise=study["normalise"], per=study["per"], rungs={}, engine=engine or study["engine"],
        )  # fmt: skip
        begun = time.process_time()
        outcome = job.run(task)
        again = outcome.loss if outcome.status == "ok" else float("nan")
        found.append(
            {"formula": formula, "seed": table.seeds[column], "loss": float(table.losses[row, column]), "again": again,
             "cpu_seconds": time.process_time() - begun}
        )  # fmt: skip
    return found
