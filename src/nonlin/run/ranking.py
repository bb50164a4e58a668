"""A study's list, with what can and cannot be concluded from it."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from nonlin.run.halving import Agreement, agreements
from nonlin.run.store import Trial

if TYPE_CHECKING:
    from nonlin.run.study import Study

Z95 = 1.959964  # two-sided 95% of the normal distribution


class Ranking:
    """The finished children of a study, best first.

    `rows` are pairs (rank, trial), rank counting from 1 over all roles.
    """

    def __init__(self, study: Study):
        self.study = study
        self.trials = study.top(None)
        self.rows = list(enumerate(self.trials, start=1))

    @property
    def best(self) -> Trial:
        return self.trials[0]

    @cached_property
    def margin(self) -> float | None:
        """Difference of two accuracies that one validation set of this size can just tell apart.

        1.96·√(2·p(1-p)/n): the 95% limit for two independent proportions near the best accuracy p
        (p counted with one more error, so that a perfect score has a margin too). Children share the
        validation set, so the true margin is somewhat smaller; one seed adds noise that it does not count.
        None for regression.
        """
        if self.study.config.metric != "accuracy" or not math.isfinite(self.best.score):
            return None
        n = self.study.config.rows["validation"]
        p = min(self.best.score, 1 - 1 / n)
        return Z95 * math.sqrt(2 * p * (1 - p) / n)

    def agreements(self) -> list[Agreement]:
        """How well the rungs of early stopping foretold the final loss; empty where nothing was stopped early."""
        config = self.study.config
        return agreements(self.trials, config.training["epochs"]) if config.halving else []

    def tied(self, trial: Trial) -> bool:
        """Whether this one seed cannot tell `trial` from the best."""
        if self.margin is None or trial.status != "ok":
            return False
        return self.best.score - trial.score <= self.margin

    def summary(self) -> str:
        """ "161 children: 92 trained to the end, 60 stopped early, 9 diverged" """
        counts = Counter(trial.status for trial in self.trials)
        words = {"ok": "trained to the end", "stopped": "stopped early", "diverged": "diverged", "failed": "failed"}
        parts = [f"{counts[status]} {text}" for status, text in words.items() if counts[status]]
        running = "" if self.study.finished else " (unfinished)"
        return f"{len(self.trials)} children: {', '.join(parts)}{running}"

    def verdict(self) -> str:
        """What the list says in a few lines, ties called ties."""
        best = self.best
        if best.status != "ok":
            return "No child was trained to the end."
        metric, rows = self.study.config.metric, self.study.config.rows
        lines = [
            f"Best: {best.name} ({metric} {best.score:.4f}, loss {best.loss:.4f}) on {rows['validation']} validation "
            f"rows; the {rows['test']} test rows were not touched."
        ]
        if self.margin is not None:
            ties = [trial for trial in self.trials if self.tied(trial)]
            baselines = [trial.name for trial in ties if trial.role == "baseline"]
            nulls = [trial.name for trial in ties if trial.role == "null"]
            among = ", ".join(baselines) or "none"
            lines.append(
                f"Tied with it (marked =): {len(ties) - 1} others within {self.margin:.4f}, which one seed on so many "
                f"rows cannot tell apart. Baselines among the tied: {among}. Nulls: {', '.join(nulls) or 'none'}."
            )
        else:
            lines.append(f"One seed gives no interval for {metric}: small differences between functions mean nothing.")
        if self.study.finished and not any(trial.role == "candidate" for trial in self.trials):
            lines.append(
                f"No candidate was trained: the strategy {self.study.config.strategy!r} proposed nothing that is new "
                "and worth training. So nothing was searched, and nothing follows from this list."
            )
        elif best.role == "null":
            lines.append("The best is a null: this task does not show a need for another function, or for any at all.")
        return "\n".join(lines)
