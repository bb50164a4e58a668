"""Lessons: four phenomena of deep networks, shown on real data, each conclusion drawn from its own numbers.

Each lesson trains small networks on scikit-learn's digits for a few seconds. The phenomena are those that
[Hansen2019] explains with formulas; here they are measured.

References
----------
[Hansen2019] C. Hansen, "Activation functions explained - GELU, SELU, ELU, ReLU and more", Machine Learning From
    Scratch, 2019
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonlin.diagnosis.tables import Table, json_safe
from nonlin.errors import DiagnosisError, UnknownNameError

if TYPE_CHECKING:
    from nonlin.report.diagnosis import Panel

HANSEN = (
    "C. Hansen, Activation functions explained - GELU, SELU, ELU, ReLU and more, Machine Learning From Scratch, 2019"
)


@dataclass(frozen=True)
class Finding:
    """A conclusion: `holds` says whether the numbers showed what the lesson looks for."""

    sentence: str
    holds: bool

    @classmethod
    def of(cls, holds: bool, yes: str, no: str) -> Finding:
        """`yes` if the condition holds, else `no`; both with their numbers."""
        return cls(yes if holds else no, bool(holds))

    def __str__(self) -> str:
        return f"{'shown' if self.holds else 'NOT shown'}: {self.sentence}"


@dataclass(frozen=True)
class Lesson:
    """The result of a lesson.

    Attributes
    ----------
    setting : networks, data and training, so that the numbers can be had again
    tables : the numbers; findings : what they say; panels : what `plot` draws
    sources : where the phenomenon is described
    seed, repeats : networks are made from the seeds seed … seed+repeats-1
    """

    name: str
    title: str
    question: str
    setting: str
    tables: tuple[Table, ...]
    findings: tuple[Finding, ...]
    panels: tuple[Panel, ...]
    sources: tuple[str, ...]
    seed: int = 0
    repeats: int = 1
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Everything but the panels, ready for JSON."""
        kept = asdict(replace(self, panels=()))
        del kept["panels"]
        return json_safe(kept)

    def plot(self, path: str | Path) -> Path:
        """Draw the lesson into a .png, .svg or .pdf file."""
        from nonlin.report.diagnosis import plot_panels

        return plot_panels(self.panels, Path(path))

    def __str__(self) -> str:
        parts = [f"{self.title}\n{self.question}", self.setting, *map(str, self.tables)]
        parts.append("\n".join(map(str, self.findings)))
        parts.append("\n".join(f"source: {source}" for source in self.sources))
        return "\n\n".join(parts)


def _vanishing(seed: int, repeats: int) -> Lesson:
    from nonlin.diagnosis.lesson_vanishing import vanishing

    return vanishing(seed, repeats)


def _exploding(seed: int, repeats: int) -> Lesson:
    from nonlin.diagnosis.lesson_exploding import exploding

    return exploding(seed, repeats)


def _dead(seed: int, repeats: int) -> Lesson:
    from nonlin.diagnosis.lesson_dead import dead

    return dead(seed, repeats)


def _selu(seed: int, repeats: int) -> Lesson:
    from nonlin.diagnosis.lesson_selu import selu

    return selu(seed, repeats)


LESSONS: dict[str, Callable[[int, int], Lesson]] = {
    "vanishing": _vanishing, "exploding": _exploding, "dead": _dead, "selu": _selu,
}  # fmt: skip


def lesson(name: str, seed: int = 0, repeats: int = 3) -> Lesson:
    """Run a lesson; the same seed gives the same numbers.

    Parameters
    ----------
    name : one of `LESSONS`
    repeats : from how many seeds each network is trained

    Raises
    ------
    UnknownNameError, DiagnosisError : for a name that is not known, or numbers that make no sense
    """
    if name not in LESSONS:
        raise UnknownNameError("lesson", str(name), LESSONS)
    if not isinstance(repeats, int) or isinstance(repeats, bool) or repeats < 1:
        raise DiagnosisError(f"repeats={repeats!r} must be a whole number above 0.")
    start = time.perf_counter()
    found = LESSONS[name](seed, repeats)
    return replace(found, seed=seed, repeats=repeats, seconds=time.perf_counter() - start)
