"""The one loop: search, confirm, transfer and export, in one folder that a second call continues.

    search     candidates on the task, one seed each                       → runs.db, search.html
    confirm    the finalists again, fresh seeds, beside baselines and nulls → runs.db, confirm.html
    transfer   the finalists on other tasks, if any are named              → runs.db, transfer.html
    export     the finalist that validation data prefer, as source         → activation.py, ...
               what can be said of it                                      → summary.txt, summary.json

Every training is kept in the store the moment it is finished. A call with the same arguments trains what is missing
and nothing else.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import nonlin
from nonlin.errors import ComparisonError, ExportError
from nonlin.exporters import TARGETS, export
from nonlin.run.comparison import Comparison
from nonlin.run.executor import check_workers
from nonlin.run.finalists import BASELINES, RATES, confirm, finalists
from nonlin.run.finalists import transfer as transfer_study
from nonlin.run.judgement import Judgement, best_of, judge
from nonlin.run.loop import Watcher as SearchWatcher
from nonlin.run.setting import checked_rates
from nonlin.run.statistics import seed_count
from nonlin.run.study import LARGEST, Study, checked_choices, search
from nonlin.run.trainings import Watcher as RunWatcher
from nonlin.strategies import Space, StrategyFactory
from nonlin.tasks import Task, is_script, known
from nonlin.tasks import task as task_by_name
from nonlin.tasks.rehearsal import reference_model, rehearse
from nonlin.zoo import Activation, activation

STORE = "runs.db"
WORTH_MORE = 10  # times as many seeds are worth taking to settle a tie; beyond, it does not matter


class Watcher(Protocol):
    """Hears of the stages, and gives each a watcher of its own; see `nonlin.cli.pipeline` for one that shows them."""

    def search(self) -> AbstractContextManager[SearchWatcher | None]: ...

    def runs(self, stage: str) -> AbstractContextManager[RunWatcher | None]: ...

    def writing(self) -> None:
        """Nothing is left to train; reports and exports are being written."""

    def step(self, what: str) -> None:
        """What is being written now."""


class _Unwatched:
    def search(self) -> AbstractContextManager[SearchWatcher | None]:
        return nullcontext(None)

    def runs(self, stage: str) -> AbstractContextManager[RunWatcher | None]:
        return nullcontext(None)

    def writing(self) -> None:
        return None

    def step(self, what: str) -> None:
        return None


@dataclass(frozen=True)
class Pipeline:
    """What one loop found. Get one from `nonlin.pipeline`.

    Attributes
    ----------
    found : the finalist that validation data prefer over the fresh seeds, with its initial parameters
    trained : its parameters after training, mean over layers, channels and seeds; none where it has none
    judgements : the task's own first, then one for each task of the transfer
    files : what was written, by what it is: "store", "search report", "confirm report", "torch", ...
    """

    folder: Path
    top: int
    study: Study
    confirmation: Comparison
    transferred: Comparison | None
    found: Activation
    trained: dict[str, float]
    judgements: tuple[Judgement, ...]
    files: dict[str, Path]

    @property
    def judgement(self) -> Judgement:
        """On the task that was searched."""
        return self.judgements[0]

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.study.config.task,
            "found": {"name": self.found.name, "formula": self.found.formula, "initial": self.found.parameters,
                      "trained": self.trained},
            "outcome": self.judgement.outcome,
            "judgements": [one.as_dict() for one in self.judgements],
            "advice": self.advice(),
            "next": self.next_command(),
            "files": {name: str(path) for name, path in self.files.items()},
        }  # fmt: skip

    def summary(self) -> str:
        """What was found, how it stands against the baselines, what to do next and where everything is."""
        trials = [trial for trial in self.study.trials() if trial.role == "candidate"]
        lines = [
            f"Found on {self.study.config.task}, of {len(trials)} functions of {self.study.config.space}:",
            f"    {self.found}",
        ]
        if self.trained:
            values = ", ".join(f"{name} = {value:.3g}" for name, value in self.trained.items())
            lines.append(f"    after training {values} (mean over layers, channels and seeds)")
        for number, one in enumerate(self.judgements):
            lines += ["", f"On {one.task}:" if number else "Chosen by validation data, judged on test data:"]
            lines += [f"    {line}" for line in one.lines()]
        lines += ["", self.advice(), "", "Files:"]
        width = max(map(len, self.files))
        lines += [f"    {name:{width}}  {path}" for name, path in self.files.items()]
        return "\n".join([*lines, "", "Next:", f"    {self.next_command()}"])

    def advice(self) -> str:
        """What follows from the judgement, in one or two sentences."""
        one = self.judgement
        tied, worse = one.labels("tied"), one.labels("worse")
        if worse:
            return f"Verdict: worse. Keep {worse[0]}: nothing better was found."
        if one.outcome == "better":
            where = [other.task for other in self.judgements[1:] if other.outcome == "better"]
            also = f" It is so on {', '.join(where)} too." if where else ""
            other = [other.task for other in self.judgements[1:] if other.outcome != "better"]
            but = f" On {', '.join(other)} it is not." if other else ""
            return f"Verdict: better than every baseline on {one.task}.{also}{but}"
        if not tied:
            return "Verdict: open. Nothing was trained beside it that it could be compared with."
        text = (
            f"Verdict: a tie. {tied[0]} does as well as far as {seed_count(one.seeds)} can tell; that is no gain yet."
        )
        if math.isfinite(one.seeds_needed) and one.seeds_needed > one.seeds:
            text += f" To tell it from the nearest baseline would take about {one.seeds_needed:,.0f} seeds"
            text += "." if one.seeds_needed <= WORTH_MORE * one.seeds else ": it hardly matters which you take."
        return text

    def next_command(self) -> str:
        """What to type next: use the function if it is better, take more seeds if they could tell, else look around."""
        one, store = self.judgement, shlex.quote(str(self.files["store"]))
        if one.outcome == "better":
            return f"nl.swap(model, {self.found.formula!r})"
        if one.outcome == "tied" and one.seeds < one.seeds_needed <= WORTH_MORE * one.seeds:
            seeds = f"{one.seeds_needed:.0f}"
            if not known(one.task):
                return f"nl.confirm(found.study, top={self.top}, seeds={seeds})"
            baselines = "".join(f" --baseline {shlex.quote(row.label)}" for row in one.against if row.role == "given")
            return f"nonlin confirm {store} --study {self.study.id} --top {self.top} --seeds {seeds}{baselines}"
        return f"nonlin top {store} --study {self.study.id} -n 20"


def pipeline(
    task: str | Path | Task,
    folder: str | Path | None = None,
    *,
    space: str | Path | Space = "core-1",
    strategy: str | StrategyFactory = "exhaustive",
    budget: int | None = 100,
    seed: int = 0,
    top: int = 3,
    seeds: int = 10,
    rates: Sequence[float] = RATES,
    baselines: Sequence[Activation | str] = BASELINES,
    transfer: Sequence[str | Task] = (),
    transfer_seeds: int = 5,
    to: Sequence[str] = ("torch",),
    workers: int = 0,
    watcher: Watcher | None = None,
) -> Pipeline:
    """Search an activation for a task, confirm it, try it elsewhere, and export it; all in one folder.

    Parameters
    ----------
    task : name of a task, a script that defines one (``train.py`` with `build` and `data`), or a `nonlin.Task`
    folder : where everything goes; default "pipeline-" and the task's name. A call with the same arguments continues
        what is there
    space, strategy, budget, seed : of the search, see `nonlin.search`
    top, seeds, rates, baselines : of the confirmation, see `nonlin.confirm`
    transfer, transfer_seeds : other tasks to try the finalists on, and how many seeds there
    to : what the function is exported to, see `nonlin.export`. Where a target takes numbers in the place of
        parameters (C, ONNX), they are the trained ones
    workers : processes on this machine; 0 trains in this process
    watcher : hears of the progress

    Returns
    -------
    Pipeline : `.found`, `.judgement`, `.files`, `.summary()`

    Raises
    ------
    NonlinError : for arguments that cannot be used, before anything is trained
    """
    chosen = task_by_name(task)
    others = [task_by_name(one) for one in transfer]
    _check(chosen, others, top, seeds, transfer_seeds, rates, baselines, to)
    check_workers(workers)
    where = checked_choices(space, strategy, budget, seed)
    for one in (chosen, *others):  # the others too: hours may pass before their stage begins
        rehearse(one, reference_model(one), widths=where.per != "tensor")
    place = _folder(chosen, folder)
    store, eyes = place / STORE, watcher or _Unwatched()
    with eyes.search() as searching:
        study = search(chosen, space, strategy, budget, seed, store, workers, watcher=searching)
    with eyes.runs("confirm") as running:
        kept = confirm(study, top, seeds, rates=rates, baselines=baselines, workers=workers, watcher=running)
    moved = None
    if others:
        with eyes.runs("transfer") as running:
            moved = transfer_study(
                study, top, others, transfer_seeds, baselines=baselines, workers=workers, watcher=running
            )
    eyes.writing()
    return _conclude(place, study, kept, moved, top, baselines, to, eyes.step)


def _check(task: Task, others: Sequence[Task], top, seeds, transfer_seeds, rates, baselines, to) -> None:
    """What can be known to be wrong before hours of training."""
    for name, value in (("top", top), ("seeds", seeds), ("transfer_seeds", transfer_seeds)):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
            raise ComparisonError(f"{name} must be a whole number above 0; got {value!r}.")
    checked_rates(rates)
    if isinstance(baselines, str | Activation):
        raise ComparisonError(f"baselines are a list, such as ['relu', 'gelu']; got {baselines!r}.")
    for baseline in baselines:
        activation(baseline)
    names = [task.name, *(other.name for other in others)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ComparisonError(f"task {twice[0]!r} is named twice; transfer goes to other tasks than the one searched.")
    if isinstance(to, str):
        raise ExportError(f"to is a list of targets, such as ['torch']; got {to!r}.")
    for target in to:
        export("relu", target)  # an unknown one, or one whose package is not installed


def _folder(task: Task, folder: str | Path | None) -> Path:
    """The folder of the results, made where it is missing."""
    name = Path(task.name).stem if is_script(task.name) else task.name
    place = Path(folder) if folder is not None else Path("pipeline-" + re.sub(r"[^\w.-]+", "-", name))
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ComparisonError(
            f"{place} cannot be the folder of the results: {error.strerror or error}. Name another folder."
        ) from None
    return place


def _conclude(
    place: Path, study: Study, kept: Comparison, moved: Comparison | None, top, baselines, to, step
) -> Pipeline:
    """Choose, judge, and write what there is to write."""
    labels, rivals = _arms(study, kept, top)
    task = study.config.task
    label = best_of(kept, labels, task)
    judgements = [judge(kept, label, rivals, task)]
    if moved is not None:
        rivals = _arms(study, moved, top)[1]
        judgements += [judge(moved, label, rivals, name) for name in moved.tasks]
    arm = next(arm for arm in kept.config.arms if arm.label == label)
    found = Activation(arm.name, activation(arm.formula).expr, tuple(arm.initial.items()))
    trained = next(row.parameters for row in kept.table(task) if row.label == label)
    files = {"store": place / STORE, "search report": _page(study, place / "search.html", step)}
    files["confirm report"] = _page(kept, place / "confirm.html", step)
    if moved is not None:
        files["transfer report"] = _page(moved, place / "transfer.html", step)
    for target in to:
        step(f"{target} source")
        files[target] = _export(found, trained, target, place)
    files |= {"summary": place / "summary.txt", "as JSON": place / "summary.json"}
    result = Pipeline(place, top, study, kept, moved, found, trained, tuple(judgements), files)
    files["summary"].write_text(result.summary() + "\n", encoding="utf-8")
    files["as JSON"].write_text(json.dumps(_finite(result.as_dict()), indent=2) + "\n", encoding="utf-8")
    return result


def _page(source: Study | Comparison, path: Path, step: Callable[[str], None]) -> Path:
    """Write a report, unless the file's last line says that it was made of the very same results."""
    mark = f"<!-- nonlin {nonlin.__version__}: {type(source).__name__} {source.id} of {source.created} -->\n"
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace").endswith(mark):
        step(f"{path.name} is there already")
        return path
    step(f"{path.name} ...")
    source.report(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(mark)
    return path


def _arms(study: Study, comparison: Comparison, top: int) -> tuple[list[str], list[str]]:
    """Labels of the search's finalists, and of the baselines, in a comparison made of them."""
    formulas = {act.formula for act in finalists(study, top, ())}
    given = [arm for arm in comparison.config.arms if arm.role == "given"]
    ours = [arm.label for arm in given if arm.formula in formulas and arm.protocol == "common"]
    return ours, [arm.label for arm in given if arm.label not in ours]


def _export(found: Activation, trained: dict[str, float], target: str, place: Path) -> Path:
    """The function as it was trained here: with its initial parameters, or the trained ones where they are numbers."""
    _, stay, ending = TARGETS[target]
    path = place / (f"activation{ending}" if target in ("torch", "latex", "c", "onnx") else f"activation_{target}.py")
    export(found if stay or not trained else activation(found, **trained), target, path)
    return path


def _finite(value: Any) -> Any:
    """NaN and infinities become null, as JSON knows neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
