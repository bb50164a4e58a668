"""The method section of a paper, written from the configuration that really ran."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from nonlin.report.html import count
from nonlin.tasks import TASKS
from nonlin.tasks import task as task_by_name

if TYPE_CHECKING:
    from nonlin.run.comparison import Comparison
    from nonlin.run.setting import TaskSetting
    from nonlin.run.study import Study

# Works that a method section may name: (the words that call for it, BibTeX)
_WORKS = (
    ("Wilcoxon", "@article{wilcoxon1945individual,\n  title = {Individual Comparisons by Ranking Methods},\n"
     "  author = {Wilcoxon, Frank},\n  journal = {Biometrics Bulletin},\n  year = {1945},\n  volume = {1}\n}"),
    ("Holm", "@article{holm1979simple,\n  title = {A Simple Sequentially Rejective Multiple Test Procedure},\n"
     "  author = {Holm, Sture},\n  journal = {Scandinavian Journal of Statistics},\n  year = {1979},\n"
     "  volume = {6}\n}"),
    ("Ramachandran", "@misc{ramachandran2017searching,\n  title = {Searching for Activation Functions},\n"
     "  author = {Ramachandran, Prajit and Zoph, Barret and Le, Quoc V.},\n  year = {2017},\n"
     "  eprint = {1710.05941},\n  archiveprefix = {arXiv}\n}"),
)  # fmt: skip
_OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with momentum 0.9", "rmsprop": "RMSprop"}


def works(paragraphs: Sequence[str]) -> list[str]:
    """BibTeX of the works that these paragraphs name."""
    text = " ".join(paragraphs)
    return [entry for word, entry in _WORKS if word in text]


# Of a comparison


def comparison_method(comparison: Comparison, remarks: Mapping[str, str]) -> list[str]:
    """Paragraphs: what was trained, how, and how it was judged.

    Parameters
    ----------
    remarks : what each task is, in a few words, as far as it is known
    """
    config = comparison.config
    given = [arm for arm in config.arms if arm.role == "given"]
    nulls = [arm for arm in config.arms if arm.role == "null"]
    functions = sorted({arm.formula for arm in given}, key=[arm.formula for arm in given].index)
    opening = (
        f"We compared {count(len(functions))} activation function{'s' * (len(functions) != 1)} "
        f"({', '.join(arm.name for arm in given if arm.protocol == 'common')}) on "
        f"{listed([setting.name for setting in config.tasks])}; network, data, optimiser and all else were the same "
        "for each."
    )
    if nulls:
        opening += (
            f" As controls that should lose we also trained {listed([arm.label for arm in nulls])}, in the same way."
        )
    paragraphs = [opening, *(_setting(setting, _remark(setting.name, remarks)) for setting in config.tasks)]
    paragraphs.append(" ".join(_training(comparison)))
    paragraphs.append(" ".join(_statistics(comparison, len(given), len(nulls))))
    paragraphs.append(software(comparison.provenance))
    return paragraphs


def _setting(setting: TaskSetting, remark: str) -> str:
    rows = setting.rows
    return (
        f"Task {setting.name}{remark}: {rows['train']:,} training, {rows['validation']:,} validation "
        f"and {rows['test']:,} test {'targets' if setting.metric == 'R²' else 'labels'}. {budget(setting.training)} It "
        f"ran in {'the compiled core of nonlin' if setting.engine == 'core' else 'plain PyTorch'}."
    )


def _remark(name: str, remarks: Mapping[str, str]) -> str:
    """What a task is, in brackets; a user's own task that is not at hand is only known by name."""
    known = remarks.get(name) or (task_by_name(name).remark if name in TASKS else "")
    return f" ({known.rstrip('.')})" if known else ""


def budget(training: Mapping[str, Any]) -> str:
    """How one network is trained, as a sentence."""
    decay = training.get("weight_decay", 0.0)
    length = f"{steps:,} steps" if (steps := training.get("steps")) else f"{training['epochs']} epochs"
    words = [
        f"Each network was trained for {length} with {_OPTIMIZERS[training['optimizer']]}",
        f"batch size {training['batch_size']}",
        f"learning rate {training['learning_rate']:g}",
        f"weight decay {decay:g}" if decay else "no weight decay",
    ]
    if clip := training.get("clip_norm"):
        words.append(f"gradients clipped to norm {clip:g}")
    if clip := training.get("clip_value"):
        words.append(f"gradients clipped elementwise to ±{clip:g}")
    if schedule := training.get("schedule"):
        words.append(f"the schedule {schedule!r}")
    if warmup := training.get("warmup"):
        words.append(f"a warm-up of {warmup} steps")
    if smoothing := training.get("label_smoothing"):
        words.append(f"label smoothing {smoothing:g}")
    return f"{', '.join(words)}."


def _training(comparison: Comparison) -> list[str]:
    config = comparison.config
    lines = [
        initialisation(config.normalise),
        f"Trainable parameters of an activation were held per {config.per}.",
    ]
    if any(arm.protocol == "selu" for arm in config.arms):
        lines.append(
            "SELU was also trained as its authors require: LeCun-normal weights, zero biases, and AlphaDropout in "
            "place of dropout (Klambauer et al. 2017)."
        )
    if config.tuning_seeds:
        factors = ", ".join(f"{factor:g}" for factor in config.rates)
        lines.append(
            f"The learning rate was chosen for each function apart, among the task's own times {factors}, by the "
            f"smallest median validation loss over {count(len(config.tuning_seeds))} seeds that were not used again."
        )
    else:
        lines.append("All functions shared one learning rate; none was tuned.")
    seeds = config.seeds
    number = f"{count(len(seeds))} seed{'s' * (len(seeds) != 1)} ({_span(seeds)})"
    lines.append(
        f"Each function was trained with the same {number}; a seed fixes initial weights, up to each function's own "
        "gain, and the order of batches."
        if config.normalise
        else f"Each function was trained with the same {number}; a seed fixes initial weights and the order of batches."
    )
    return lines


def initialisation(normalise: bool) -> str:
    """How initial weights were scaled, as a sentence."""
    if normalise:
        return (
            "Weights that follow an activation were scaled at the start by the function's own gain 1/√E[f(z)²], "
            "z ~ N(0,1)."
        )
    return "All functions shared one initialisation, so that those of larger scale also had larger gradients."


def _statistics(comparison: Comparison, given: int, nulls: int) -> list[str]:
    pairs = given * (given - 1) // 2
    metrics = listed(sorted({setting.metric for setting in comparison.config.tasks}))
    lines = [
        f"We report {metrics} and loss on test data, which were evaluated once, at the end of each final training, and "
        "by which nothing was chosen: the median over seeds with a 95% percentile bootstrap interval (10,000 "
        "resamples).",
    ]
    if pairs:
        lines.append(
            "On each task every function was tested against the best by the two-sided Wilcoxon signed-rank test on "
            f"differences paired by seed (exact distribution), p values times {given - 1}, level 0.05; a function that "
            f"it cannot tell from the best is reported as a tie. Groups are from the tests of all {count(pairs)} "
            f"pair{'s' * (pairs != 1)} with Holm's correction."
        )
    if nulls:
        lines.append(
            f"The {count(nulls)} control{'s' * (nulls != 1)} {'were' if nulls != 1 else 'was'} tested against the best "
            "function in the same way, as a family of their own." if nulls != 1 else
            "The control was tested against the best function in the same way."
        )  # fmt: skip
    lines.append("A training that diverged or failed counts as worse than every other.")
    return lines


# Of a search


def search_method(study: Study) -> list[str]:
    """Paragraphs: what was searched, how children were trained, and how they were ranked."""
    config, census = study.config, study.census
    candidates = sum(trial.role == "candidate" for trial in study.trials())
    part = "all" if config.budget is None else f"{candidates:,} (chosen by the strategy “{config.strategy}”)"
    space = f"the space {config.space}"
    if config.space.startswith("core-"):
        space += " (units of Ramachandran, Zoph and Le 2017)"
    held = (
        f"the {census['worth_training']:,} distinct, non-affine functions"
        if "worth_training" in census
        else "the functions"
    )
    opening = (
        f"We trained {part} of {held} of {space}, "
        f"{census.get('expressions', 0):,} expressions in all, on {config.task}{_remark(config.task, {})}, beside "
        "well-known functions and nulls (linear, constant and random functions)."
    )
    rows = config.rows
    training = (
        f"{rows['train']:,} training, {rows['validation']:,} validation and {rows['test']:,} test rows. "
        f"{budget(config.training)} One seed ({config.seed}) fixed initial weights and batches for every function. "
        f"{initialisation(config.normalise)} Trainable parameters were held per {config.per}."
    )
    if rungs := config.rungs:
        stages = [(kept, [str(rung) for rung, _ in some]) for kept, some in groupby(rungs.items(), itemgetter(1))]
        where = "; ".join(f"{1 - kept:.0%} after epoch {', '.join(epochs)}" for kept, epochs in stages)
        training += (
            f" Candidates whose validation loss was among the worst of their predecessors' ({where}) "
            "were stopped there."
            + (" Outcomes counted in the order in which they came." if config.halving == "async" else "")
        )
    training += f" Training ran in {'the compiled core of nonlin' if config.engine == 'core' else 'plain PyTorch'}."
    ranking = (
        f"Functions were ranked by validation {config.metric}, then by validation loss; test data were not used. "
        "With one seed for each function the ranking is a list of candidates for confirmation, not a result."
    )
    return [opening, training, ranking, software(study.provenance)]


# Words


def software(provenance: Mapping[str, Any]) -> str:
    """Versions and machine, as far as they are known."""
    names = (("nonlin", "nonlin"), ("torch", "PyTorch"), ("numpy", "NumPy"), ("python", "Python"))
    versions = ", ".join(f"{name} {provenance[key]}" for key, name in names if provenance.get(key))
    machine = provenance.get("processor")
    cores = provenance.get("cores")
    where = f" on {machine}{f' ({cores} cores)' if cores else ''}" if machine else ""
    return f"Software: {versions}{where}."


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c" """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _span(seeds: Sequence[int]) -> str:
    first, last = min(seeds), max(seeds)
    whole = last - first + 1 == len(seeds) and len(seeds) > 2 and math.isfinite(last)
    return f"{first} to {last}" if whole else ", ".join(map(str, seeds))
