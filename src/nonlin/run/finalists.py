"""From a search's list to what can be believed: the finalists again with fresh seeds, and on other tasks.

A list of a search has one seed for each function, and its head is there partly by luck: the best of many noisy
scores is better than it deserves. So the finalists are trained anew, with seeds that the search did not use,
next to the usual functions and nulls, and judged as in any `nonlin.compare`.
"""

from __future__ import annotations

from collections.abc import Sequence

from nonlin.errors import ComparisonError
from nonlin.run.comparison import Comparison, compare
from nonlin.run.executor import Executor
from nonlin.run.study import Study
from nonlin.run.trainings import Watcher
from nonlin.tasks import Task
from nonlin.zoo import Activation, activation

BASELINES = ("relu", "gelu", "swish")
FIRST_SEED = 1_000  # of the final runs; a study's own seed is left out where it lies among them
RATES = (0.5, 1.0, 2.0)


def confirm(
    study: Study,
    top: int = 10,
    seeds: int = 10,
    *,
    rates: Sequence[float] = RATES,
    baselines: Sequence[Activation | str] = BASELINES,
    workers: int | Executor = 0,
    watcher: Watcher | None = None,
) -> Comparison:
    """Train a search's finalists again, with fresh seeds, beside baselines and nulls; final figures on test data.

    Parameters
    ----------
    study : a search, see `nonlin.search`
    top : how many of its best candidates
    seeds : how many fresh ones; `Comparison.verdict` says if they are too few for any conclusion
    rates : factors on the task's learning rate; each function gets its best, by validation data and seeds of
        their own
    baselines : well-known functions to be measured against
    workers, watcher : as for `nonlin.compare`

    Returns
    -------
    Comparison : in the study's own store

    Raises
    ------
    ComparisonError : the study has no candidate that was trained to the end.
    """
    return _again(study, [study.task], top, seeds, rates, baselines, workers, watcher)


def transfer(
    study: Study,
    top: int = 10,
    tasks: Sequence[str | Task] = ("digits-cnn", "digits-vit"),
    seeds: int = 5,
    *,
    rates: Sequence[float] = (1.0,),
    baselines: Sequence[Activation | str] = BASELINES,
    workers: int | Executor = 0,
    watcher: Watcher | None = None,
) -> Comparison:
    """Train a search's finalists on other tasks, beside baselines and nulls: does what was found generalise?

    The median of 5 seeds is what Ramachandran, Zoph & Le (2017, section 5) report; it takes more to tell functions
    apart. Parameters, result and errors as for `confirm`.
    """
    return _again(study, tasks, top, seeds, rates, baselines, workers, watcher)


def finalists(study: Study, top: int, baselines: Sequence[Activation | str]) -> list[Activation]:
    """The best candidates of a search and the baselines that are not among them."""
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise ComparisonError(f"top must be a whole number above 0; got {top!r}.")
    trials = [trial for trial in study.top(None) if trial.role == "candidate" and trial.status == "ok"][:top]
    if not trials:
        raise ComparisonError(f"{study.store.label}: no candidate was trained to the end, so there is none to confirm.")
    found = [
        Activation(trial.name, activation(trial.formula).expr, tuple(trial.initial.items())) for trial in trials
    ]  # fmt: skip
    known = [activation(baseline) for baseline in baselines]
    return found + [act for act in known if not any(act.same_as(other) for other in found)]


def _again(study, tasks, top, seeds, rates, baselines, workers, watcher) -> Comparison:
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ComparisonError(f"seeds must be a whole number above 0; got {seeds!r}.")
    fresh = [FIRST_SEED + number for number in range(seeds + 1) if FIRST_SEED + number != study.config.seed][:seeds]
    return compare(
        finalists(study, top, baselines),
        tasks,
        fresh,
        study.store.path,
        workers,
        rates=rates,
        per=study.config.per,
        watcher=watcher,
    )
