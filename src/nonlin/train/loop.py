"""The training loop, in plain PyTorch: epochs of steps, each epoch with a look at the validation part.

All that decides what comes next is in `Loop.state_dict`, so that a training may end after any step and go on from
there, in another process, to the same figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import nn

from nonlin.tasks import Task
from nonlin.train.batches import Piece, pieces
from nonlin.train.checkpoint import Checkpoint
from nonlin.train.optimise import Stepper
from nonlin.train.outcome import Outcome
from nonlin.train.pace import Clock, Pace, Watcher
from nonlin.train.place import CPU, Place
from nonlin.train.ranks import ALONE, Ranks
from nonlin.train.schedule import total_steps
from nonlin.train.score import evaluate, task_loss
from nonlin.train.sums import Sums

_ASKED = 16  # steps after which several processes agree on whether a checkpoint is due


class Loop:
    """One training of one model.

    Parameters
    ----------
    model : on the device of `place`
    outcome : what is filled in
    rungs : {epoch: loss}; training stops after that many epochs if the validation loss is above
    accumulate : parts in which a batch passes; None for the budget's
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        seed: int,
        outcome: Outcome,
        rungs: Mapping[int, float] | None = None,
        *,
        place: Place = CPU,
        ranks: Ranks = ALONE,
        accumulate: int | None = None,
        checkpoint: Checkpoint | None = None,
        watcher: Watcher | None = None,
    ):
        self.model, self.seed, self.outcome, self.rungs = model, seed, outcome, rungs or {}
        self.data, self.budget = task.load(), task.budget
        self.place, self.ranks, self.checkpoint, self.watcher = place, ranks, checkpoint, watcher
        self.accumulate = accumulate or self.budget.accumulate
        self.rows = len(self.data.train[0])
        self.steps = total_steps(self.budget, self.rows)
        self.steps_per_epoch = -(-self.rows // self.budget.batch_size)
        self.epochs = -(-self.steps // self.steps_per_epoch)
        self.stepper = Stepper(model, self.budget, self.steps, place.scaler())
        self.step = 0  # done, in all epochs
        self.order = torch.Generator().manual_seed(seed)
        self.epoch_order = self.order.get_state()  # of `order` at the running epoch's beginning
        self.sums = Sums(self.data.train[1], place)
        self.clock = Clock()
        self.durations: list[float] = []
        self.began = time.perf_counter()
        self.finished = False

    def run(self) -> None:
        """Train to the end, from where the checkpoint stands if there is one."""
        if self.checkpoint and (state := self.checkpoint.read()):
            self.load_state_dict(state)
            if self.watcher:
                self.watcher.resumed(self.step, self.steps)
        self.wrapped = self.ranks.wrap(self.model, self.place)
        while not self.finished:
            self._train_epoch()
            self._judge()
            self._save(self.finished)
        self.outcome.seconds_per_epoch = median(self.durations) if self.durations else math.nan

    def _train_epoch(self) -> None:
        """The steps that the running epoch still has."""
        epoch, done = self.outcome.epochs + 1, self.step - self.outcome.epochs * self.steps_per_epoch
        order = torch.randperm(self.rows, generator=self.order)
        size = self.budget.batch_size
        rest = order[done * size : (done + self.steps - self.step) * size]
        self.model.train()
        self.clock.pause()
        for piece in pieces(self.data, rest, size, self.seed, epoch, accumulate=self.accumulate, ranks=self.ranks):
            self._pass(piece)
            if piece.last:
                self._end_step(epoch)

    def _pass(self, piece: Piece) -> None:
        """One piece forward and backward."""
        if piece.first:
            self.stepper.begin(self.step)
        target = self.place.take(piece.y)
        with self.place.mixed():
            output = self.wrapped(self.place.take(piece.x))
            loss = task_loss(output, target, self.budget.label_smoothing)
        share = piece.share * self.ranks.count  # the processes' gradients are averaged, their losses must add up
        if piece.last:
            self.stepper.backward(loss * share if share != 1 else loss)
        else:
            with self.ranks.waiting(self.wrapped):
                self.stepper.backward(loss * share)
        self.sums.add(loss, output, target, piece.weight)

    def _end_step(self, epoch: int) -> None:
        self.stepper.end()
        self.step += 1
        self.clock.step(self.step)
        if self.watcher:
            self.watcher.stepped(self._pace(epoch))
        self._save(False)

    def _judge(self) -> None:
        """Close the epoch: its figures, and whether training goes on."""
        outcome = self.outcome
        train_loss, train_score = self.sums.figures(self.ranks)
        self.durations.append(self.clock.take())
        found = (
            evaluate(self.model, *self.data.validation, self.place, self.budget.evaluation_batch)
            if self.ranks.first
            else (math.nan, math.nan)
        )
        loss, score = self.ranks.agree(found)
        self.sums = Sums(self.data.train[1], self.place)
        self.epoch_order = self.order.get_state()
        if not (math.isfinite(train_loss) and math.isfinite(loss)):
            outcome.status, self.finished = "diverged", True
            self.durations.pop()
            return
        outcome.epochs, outcome.loss, outcome.score = outcome.epochs + 1, loss, score
        values = {"train_loss": train_loss, "train_score": train_score, "loss": loss, "score": score}
        for curve, value in values.items():
            outcome.curves.setdefault(curve, []).append(value)
        self.finished = outcome.epochs == self.epochs
        if not self.finished and loss > self.rungs.get(outcome.epochs, math.inf):
            outcome.status, self.finished = "stopped", True
        if self.watcher:
            self.watcher.stepped(self._pace(outcome.epochs))

    def _pace(self, epoch: int) -> Pace:
        speed = self.clock.speed()
        left = (self.steps - self.step) / speed if speed > 0 else math.nan
        rows = speed * min(self.budget.batch_size, self.rows)
        return Pace(self.step, self.steps, epoch, self.epochs, rows, left, self.outcome.loss, self.outcome.score)

    def _save(self, anyway: bool) -> None:
        """Write the checkpoint, if there is one and it is time."""
        if self.checkpoint is None:
            return
        if not anyway:
            if self.ranks.count > 1 and self.step % _ASKED:
                return
            if not self.ranks.agree(self.checkpoint.due):
                return
        state = self.state_dict()
        if self.ranks.first:
            self.checkpoint.write(state)
        self.clock.pause()

    def state_dict(self) -> dict[str, Any]:
        """All of it, as numbers, text and tensors; of every process what is its own."""
        own = {"random": _random_state(self.place), "sums": self.sums.state_dict()}
        return {
            "step": self.step,
            "finished": self.finished,
            "model": self.model.state_dict(),
            "stepper": self.stepper.state_dict(),
            "order": self.epoch_order,
            "durations": self.durations,
            "epoch_seconds": self.clock.since_take,
            "outcome": {**asdict(self.outcome), "seconds": self.outcome.seconds + time.perf_counter() - self.began},
            "processes": self.ranks.collect(own),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; with another number of processes, the first one takes over all sums."""
        self.step, self.finished, self.durations = state["step"], state["finished"], state["durations"]
        self.model.load_state_dict(state["model"])
        self.stepper.load_state_dict(state["stepper"])
        self.epoch_order = state["order"]
        self.order.set_state(self.epoch_order)
        self.clock.since_take = state["epoch_seconds"]
        for name, value in state["outcome"].items():
            setattr(self.outcome, name, value)
        processes = state["processes"]
        if self.ranks.rank < len(processes):
            _set_random_state(processes[self.ranks.rank]["random"], self.place)
        same = len(processes) == self.ranks.count
        for process in [processes[self.ranks.rank]] if same else processes if self.ranks.first else []:
            self.sums.load_state_dict(process["sums"])


def _random_state(place: Place) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if place.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(place.device)
    return state


def _set_random_state(state: dict[str, torch.Tensor], place: Place) -> None:
    torch.set_rng_state(state["cpu"])
    if place.device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], place.device)
