"""Live progress of a search: best so far, children per second, time left. Quiet away from a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from nonlin.cli.screen import console

if TYPE_CHECKING:
    from nonlin.run import Trial
    from nonlin.run.runs import Run
    from nonlin.strategies import Census, Estimate
    from nonlin.train.pace import Pace


class _Bar(Bar):
    def stop(self) -> None:
        if not self.disable:  # older releases of rich print an empty line here
            super().stop()


def _bar(out: Console, quiet: bool = False) -> Bar:
    """How far, how long, how long still, and a note; nothing away from a terminal."""
    return _Bar(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=out,
        disable=quiet or not out.is_terminal,
        transient=True,
    )


class Silence:
    """Watches without a word."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def counting(self, space: str) -> None: ...

    def counted(self, found: Census | Estimate) -> None: ...

    def explained(self, reason: str) -> None: ...

    def restored(self, best: Trial, done: int, total: int) -> None: ...

    def finished(self, trial: Trial, done: int, total: int | None) -> None: ...


class Progress(Silence):
    """A bar with the best function so far; away from a terminal a line for every tenth of the work."""

    def __init__(self) -> None:
        self.out = console()
        self.bar = _bar(self.out)
        self.row = self.bar.add_task("search", total=None, note="counting the space ...")
        self.best: Trial | None = None
        self.began = time.perf_counter()
        self.fresh = 0  # children trained now, not read from the store
        self.tenths = 0

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def counting(self, space: str) -> None:
        note = f"counting the distinct functions of {escape(space)} ..."
        self.bar.update(self.row, note=note)
        if not self.out.is_terminal:
            self.out.print(note, soft_wrap=True)

    def explained(self, reason: str) -> None:
        self.out.print(f"children are trained {escape(reason)}", soft_wrap=True)

    def counted(self, found: Census | Estimate) -> None:
        self.out.print(f"space: {found}")

    def restored(self, best: Trial, done: int, total: int) -> None:
        self.best = best
        self.tenths = 10 * done // total
        self.bar.update(self.row, completed=done, total=total, note=_best(best))
        self.out.print(f"continuing: {done} of {total} children are in the store")

    def finished(self, trial: Trial, done: int, total: int | None) -> None:
        if self.best is None or trial.rank_key() < self.best.rank_key():
            self.best = trial
        if self.fresh == 0:  # the rate counts from the first child on: what came before was loading
            self.began = time.perf_counter()
        self.fresh += 1
        note = _rate(self.fresh - 1, time.perf_counter() - self.began) + _best(self.best)
        self.bar.update(self.row, completed=done, total=total, note=note)
        if not self.out.is_terminal and total and 10 * done // total > self.tenths:
            self.tenths = 10 * done // total
            self.out.print(f"{done}/{total} children, {note}", soft_wrap=True)


def _rate(children: int, seconds: float) -> str:
    """Children per second, or seconds per child; nothing before a second's worth of them is there."""
    if children < 1 or seconds < 1:
        return ""
    rate = children / seconds
    return f"{rate:.1f} children/s  " if rate >= 0.5 else f"{1 / rate:.1f} s a child  "


def _best(trial: Trial) -> str:
    null = " (null)" if trial.role == "null" else ""
    return f"best {trial.score:.4f} {escape(trial.name)}{null}"


class RunProgress:
    """The progress of a comparison: a bar; away from a terminal a line for every tenth of the work."""

    def __init__(self, quiet: bool = False) -> None:
        self.out = console()
        self.quiet = quiet
        self.bar = _bar(self.out, quiet)
        self.row = self.bar.add_task("compare", total=None, note="loading ...")
        self.began = 0.0
        self.tenths = 0

    def __enter__(self) -> RunProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def planned(self, done: int, total: int) -> None:
        self.tenths = 10 * done // total
        self.began = time.perf_counter()
        self.bar.update(self.row, completed=done, total=total)
        if done and not self.quiet:
            self.out.print(f"continuing: {done} of {total} runs are in the store")

    def trained(self, run: Run, done: int, total: int) -> None:
        note = f"{escape(run.task)}, seed {run.seed}: {escape(run.arm)} {run.score:.4f}"
        self.bar.update(self.row, completed=done, total=total, note=note)
        if not self.quiet and not self.out.is_terminal and 10 * done // total > self.tenths:
            self.tenths = 10 * done // total
            seconds = time.perf_counter() - self.began
            self.out.print(f"{done}/{total} runs, {seconds:.0f} s", soft_wrap=True)


class TrainingProgress:
    """The progress of one training: a bar; away from a terminal a line for every tenth of the steps."""

    def __init__(self, quiet: bool = False) -> None:
        self.out = console()
        self.quiet = quiet
        self.bar = _bar(self.out, quiet)
        self.row = self.bar.add_task("train", total=None, note="loading ...")
        self.tenths = 0

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def resumed(self, step: int, steps: int) -> None:
        self.tenths = 10 * step // steps
        self.bar.update(self.row, completed=step, total=steps)
        if not self.quiet:
            self.out.print(f"continuing after step {step} of {steps}")

    def stepped(self, pace: Pace) -> None:
        self.bar.update(self.row, completed=pace.step, total=pace.steps, note=_pace(pace))
        if not self.quiet and not self.out.is_terminal and 10 * pace.step // pace.steps > self.tenths:
            self.tenths = 10 * pace.step // pace.steps
            left = "" if pace.seconds_left != pace.seconds_left else f", {_duration(pace.seconds_left)} left"
            self.out.print(f"step {pace.step}/{pace.steps}, {_pace(pace)}{left}", soft_wrap=True)


def _pace(pace: Pace) -> str:
    parts = [f"epoch {pace.epoch}/{pace.epochs}"]
    if pace.rows_per_second == pace.rows_per_second:
        parts.append(f"{pace.rows_per_second:,.0f} rows/s")
    if pace.loss == pace.loss:
        parts.append(f"validation {pace.score:.4f}, loss {pace.loss:.4f}")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s" if rest >= 60 else f"{rest} s"
