"""How fast a training goes, and how long it still takes."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

_WINDOW = 20.0  # seconds over which speed is measured: recent enough to follow a change, long enough to be calm


@dataclass(frozen=True)
class Pace:
    """Where a training stands.

    Attributes
    ----------
    step, steps : done, and in all
    epoch, epochs : the running one, and in all
    rows_per_second : of the last seconds, over all processes; NaN before the second step
    seconds_left : at that speed, validation not counted; NaN before the second step
    loss, score : validation loss and score of the last completed epoch; NaN in the first
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    rows_per_second: float
    seconds_left: float
    loss: float
    score: float


class Watcher(Protocol):
    """What `fit` tells of a training."""

    def resumed(self, step: int, steps: int) -> None:
        """A checkpoint was found; training goes on after this step."""

    def stepped(self, pace: Pace) -> None:
        """A step, or the validation after an epoch, is done."""


class Clock:
    """Measures the speed of steps; validation and checkpoints, announced by `pause`, are left out."""

    def __init__(self) -> None:
        self.marks: deque[tuple[float, int]] = deque()  # (seconds, steps) so far
        self.seconds = 0.0
        self.since_take = 0.0
        self.since = time.perf_counter()

    def step(self, step: int) -> None:
        """So many steps are done."""
        self._pass()
        self.marks.append((self.seconds, step))
        while len(self.marks) > 2 and self.seconds - self.marks[1][0] > _WINDOW:
            self.marks.popleft()

    def _pass(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self.since
        self.since_take += now - self.since
        self.since = now

    def pause(self) -> None:
        """What passed since the last step is no step's time."""
        self.since = time.perf_counter()

    def take(self) -> float:
        """Seconds of training since the last call."""
        self._pass()
        taken, self.since_take = self.since_take, 0.0
        return taken

    def speed(self) -> float:
        """Steps per second; NaN before the second step."""
        if len(self.marks) < 2:
            return float("nan")
        (begun, first), (ended, last) = self.marks[0], self.marks[-1]
        return (last - first) / max(ended - begun, 1e-9)
