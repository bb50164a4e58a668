"""Training K children that differ in their activation as one: the same results as `fit`, child by child.

The task's own model is recorded once (`nonlin.train.capture`) and performed with K in front of everything that differs
(`nonlin.train.plan`): weights, what flows through them, optimiser states. Initial weights, batches, their order and
dropout's masks are those of `fit`, and so are the rules of stopping and of divergence. A child that stops leaves the
cohort, which goes on smaller. What cannot be stacked is trained by `fit`, one by one; `obstacle` says why.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from nonlin import native
from nonlin.errors import NonlinError
from nonlin.native.module import ActivationModule, Per
from nonlin.native.stacked import Optimiser
from nonlin.native.stacked_activation import Activations, sort_key
from nonlin.nn.adaptive_groups import parameter_groups
from nonlin.tasks import Factory, Task
from nonlin.train.batches import Piece, pieces
from nonlin.train.capture import Unstackable
from nonlin.train.fit import first_batch_bytes, fit
from nonlin.train.initial import Protocol, check_protocol, initial_model
from nonlin.train.outcome import Outcome, Status
from nonlin.train.place import CPU, place
from nonlin.train.plan import Plan
from nonlin.train.plans import Plans, State, first_batch
from nonlin.train.schedule import factor, total_steps
from nonlin.train.score import evaluate
from nonlin.train.tally import Known, Tally
from nonlin.train.tape import Tape, Unwritable, write
from nonlin.zoo import Activation, activation

LARGEST = 16  # children; more of them gain nothing, and leave the cache
_CACHE = 2**21  # bytes: about what all children's outputs of one layer may take
_KEPT = 30 * 2**20  # bytes, see `_keep_memory`


@lru_cache(maxsize=16)
def plans_for(task: Task, per: Per, protocol: Protocol, count: int) -> Plans:
    """The plans of a task's model, for activations of up to `count` parameters. Unstackable if there are none."""
    return Plans(task, per, protocol, count)


def obstacle(task: Task, per: Per = "channel", protocol: Protocol = "common") -> str:
    """Why `task`'s children cannot be trained as one; empty if they can."""
    return _obstacle(task, per, protocol)


@lru_cache(maxsize=16)
def _obstacle(task: Task, per: Per, protocol: Protocol) -> str:
    budget = task.budget
    if place(budget) != CPU:
        return f"it is trained on {place(budget).device}"
    if budget.accumulate > 1:
        return "its batches pass in parts"
    try:
        plans = plans_for(task, per, protocol, 1)
        plans.training(*plans.example, plans.all_shared)
        plans.evaluation(plans.example[0], plans.all_shared)
    except Unstackable as reason:
        return str(reason)
    return ""


def cohort_size(task: Task) -> int:
    """How many children to train as one: more for small networks; a large one fills the cache by itself."""
    return max(2, min(LARGEST, _CACHE // _widest(task)))


def pays(task: Task) -> bool:
    """Whether cohorts are worth it: a layer that does not fit the cache by itself gains little by company."""
    return _widest(task) <= 4 * _CACHE


@lru_cache(maxsize=16)
def _widest(task: Task) -> int:
    """Bytes of the largest output of an activation, for one batch."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = task.model(Factory(activation("relu")))
        sizes: list[int] = []
        parts = [part for part in model.modules() if isinstance(part, ActivationModule)]
        handles = [part.register_forward_hook(lambda _, __, y: sizes.append(y.nbytes)) for part in parts]
        model.eval()(first_batch(task)[0])
        for handle in handles:
            handle.remove()
    return max(sizes, default=1)


def _keep_memory() -> None:
    """Have what is freed in a step kept for the next one.

    glibc gives memory back to the system at once, and every 4 KB of it costs a page fault when it is next used; that
    is several times what is computed in it. It does so for pieces above the largest that were ever freed, at most
    32 MB. Elsewhere this does nothing: the memory is never touched.
    """
    torch.empty(_KEPT, dtype=torch.uint8)


@dataclass
class Child:
    """One child of a cohort."""

    number: int  # in the caller's order
    act: Activation
    function: native.Function
    rate: float
    rungs: Mapping[int, float]
    outcome: Outcome
    durations: list[float] = field(default_factory=list)


def fit_cohort(
    task: Task,
    acts: Sequence[Activation | str],
    seed: int = 0,
    *,
    normalise: bool = True,
    per: Per = "channel",
    rungs: Sequence[Mapping[int, float] | None] | None = None,
    protocol: Protocol = "common",
    final: bool = False,
    learning_rates: Sequence[float] | None = None,
) -> list[Outcome]:
    """What `fit` gives for each of `acts`, trained together.

    Parameters
    ----------
    rungs : for each child, as for `fit`
    learning_rates : one for each child; the budget's unless given
    the others : as for `fit`, the same for all

    Returns
    -------
    list of Outcome : in the order of `acts`. A child's `seconds` are its share of the cohort's.
    """
    check_protocol(protocol)
    chosen = [activation(act) for act in acts]
    rates = [task.budget.learning_rate] * len(chosen) if learning_rates is None else list(learning_rates)
    limits = [{} if one is None else one for one in rungs] if rungs is not None else [{} for _ in chosen]
    children = [
        Child(number, act, native.function(act.expr, tuple(act.parameters)), rate, limit, _empty_outcome())
        for number, (act, rate, limit) in enumerate(zip(chosen, rates, limits, strict=True))
    ]
    if not children:
        return []
    try:
        if reason := obstacle(task, per, protocol):
            raise Unstackable(reason)
        if final and task.measure:
            raise Unstackable("its further figures need the model itself")
        with torch.random.fork_rng(devices=[]):
            Cohort(task, children, seed, normalise, per, protocol, final).train()
    except Unstackable:
        return [
            _alone(task, one, seed, normalise=normalise, per=per, protocol=protocol, final=final) for one in children
        ]
    return [one.outcome for one in children]


def _alone(task: Task, child: Child, seed: int, **settings) -> Outcome:
    if child.rate != task.budget.learning_rate:
        task = replace(task, data=task.load(), budget=replace(task.budget, learning_rate=child.rate))
    return fit(task, child.act, seed, rungs=child.rungs, **settings)


def _empty_outcome() -> Outcome:
    return Outcome("ok", curves={"train_loss": [], "train_score": [], "loss": [], "score": []})


class Cohort:
    """Children in training: row k of everything stacked belongs to `alive[k]`."""

    def __init__(
        self,
        task: Task,
        children: Sequence[Child],
        seed: int,
        normalise: bool,
        per: Per,
        protocol: Protocol,
        final: bool,
    ):
        begun = time.perf_counter()
        _keep_memory()
        self.task, self.seed, self.final = task, seed, final
        self.tapes: dict[int, Tape] = {}  # by their plans' identities
        self.performed: set[int] = set()  # the same
        self.alive = sorted(children, key=lambda one: sort_key(one.function))
        self.plans = plans_for(task, per, protocol, max(1, *(len(one.act.parameters) for one in children)))
        models = self._models(normalise, per, protocol)
        self._stack(models)
        # in evaluation, whatever the number of children: every shape of a batch is recorded for itself
        self.rows_at_once = max(1, _CACHE // (_widest(task) * cohort_size(task))) * task.budget.batch_size
        self._share(time.perf_counter() - begun, self.alive)

    # Setting up

    def _models(self, normalise: bool, per: Per, protocol: Protocol) -> list[nn.Module]:
        """Every child's model as `fit` begins with it; children whose model cannot be made have failed."""
        models, able, generators = [], [], []
        for child in self.alive:
            torch.manual_seed(self.seed)
            try:
                model = initial_model(self.task, child.act, per, normalise, protocol)
                generators.append(torch.get_rng_state())
                if self.final:
                    child.outcome.saved_bytes = first_batch_bytes(model, self.task, self.seed)
            except NonlinError:
                raise
            except Exception as error:
                child.outcome.status = "failed"
                child.outcome.error = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                continue
            models.append(model)
            able.append(child)
        if any(not torch.equal(one, generators[0]) for one in generators):
            raise Unstackable("its initial weights use up as many random numbers as the activation has parameters")
        self.alive = able
        if able:
            torch.set_rng_state(generators[0])
        return models

    def _stack(self, models: Sequence[nn.Module]) -> None:
        if not models:
            return
        self.state = self.plans.stack(models)
        self.functions = Activations([one.function for one in self.alive])
        budget = self.task.budget
        decays = {
            id(p): group["weight_decay"] for group in parameter_groups(models[0], budget.weight_decay)
            for p in group["params"]
        }  # fmt: skip
        own = dict(models[0].named_parameters())
        self.names = self.plans.trained(self.state)
        self.optimiser = Optimiser(
            budget.optimizer,
            [self.state.parameters[name] for name in self.names],
            [decays[id(own[name])] if name in own else 0.0 for name in self.names],
            torch.tensor([one.rate for one in self.alive], dtype=torch.float64),
            budget.clip_value,
            budget.clip_norm,
            budget.betas or (0.9, 0.999),
            budget.nesterov,
        )

    # Training

    def train(self) -> None:
        data, budget = self.task.load(), self.task.budget
        rows = len(data.train[0])
        self.total, steps_per_epoch = total_steps(budget, rows), -(-rows // budget.batch_size)
        self.epochs = -(-self.total // steps_per_epoch)
        order = torch.Generator().manual_seed(self.seed)
        for epoch in range(1, self.epochs + 1):
            if not self.alive:
                return
            begun = time.perf_counter()
            rest = torch.randperm(rows, generator=order)[: (self.total - self.optimiser.steps) * budget.batch_size]
            losses, scores = self._train_epoch(pieces(data, rest, budget.batch_size, self.seed, epoch))
            middle = time.perf_counter()
            judged = self._evaluate(*data.validation)
            self._share(time.perf_counter() - begun, self.alive)
            share = (middle - begun) / max(1, len(self.alive))
            going = [
                k for k, child in enumerate(self.alive)
                if self._note(child, epoch, losses[k], scores[k], *judged[k], share)
            ]  # fmt: skip
            if epoch < self.epochs:
                self._keep(going)
            else:
                self._finish(going)

    def _note(self, child: Child, epoch: int, train_loss: float, train_score: float, loss: float, score: float,
              seconds: float) -> bool:  # fmt: skip
        """Write down a child's epoch; whether it goes on, by the rules of `fit`."""
        outcome = child.outcome
        if not (math.isfinite(train_loss) and math.isfinite(loss)):
            self._leave(child, "diverged")
            return False
        child.durations.append(seconds)
        outcome.epochs, outcome.loss, outcome.score = epoch, loss, score
        for curve, value in zip(("train_loss", "train_score", "loss", "score"), (train_loss, train_score, loss, score),
                                strict=True):  # fmt: skip
            outcome.curves[curve].append(value)
        if epoch < self.epochs and loss > child.rungs.get(epoch, math.inf):
            self._leave(child, "stopped")
            return False
        return True

    def _train_epoch(self, epoch: Iterator[Piece]) -> tuple[list[float], list[float]]:
        """Each child's mean loss, and accuracy or R², over the batches as they pass. Who diverges leaves at once."""
        tally = Tally(len(self.alive), self.task.load().train[1])
        for piece in epoch:
            plan = self.plans.training(piece.x, piece.y, self.state.shared)
            loss, output, *gradients = self._perform(plan, piece.x, piece.y)
            assert loss is not None
            assert output is not None
            tally.add(loss, output, piece.y, piece.weight)
            self.optimiser.step(
                [g.contiguous() for g in gradients if g is not None],
                factor(self.task.budget, self.optimiser.steps, self.total),
            )
            finite = loss.isfinite()
            if not bool(finite.all()):
                for child, fine in zip(self.alive, finite.tolist(), strict=True):
                    if not fine:
                        self._leave(child, "diverged")
                going = finite.nonzero().flatten().tolist()
                tally.keep(going)
                self._keep(going)
                if not self.alive:
                    break
        return tally.losses(), tally.scores()

    def _evaluate(self, x: Any, y: Tensor) -> list[tuple[float, float]]:
        """Each child's loss and score on a part of the data."""
        if not self.alive:
            return []
        size = self.task.budget.evaluation_batch
        outputs = [
            torch.cat([self._output(part) for part in rows.split(self.rows_at_once)], dim=1) for rows in x.split(size)
        ]
        nothing = torch.empty(len(y), 0)  # the outputs are there already
        return [evaluate(Known(one[k] for one in outputs), nothing, y, CPU, size) for k in range(len(self.alive))]

    def _output(self, x: Any) -> Tensor:
        (output,) = self._perform(self.plans.evaluation(x, self.state.shared), x)
        assert output is not None
        return output.clone()  # the next part's would take its place

    def _perform(self, plan: Plan, *batch: Tensor) -> list[Tensor | None]:
        """A plan's outputs, until it is performed again: by its tape, if it can have one and was performed before."""
        number, key = id(plan), (len(self.alive), self.functions.plain, self.functions.native)
        if (tape := self.tapes.get(number)) is not None:
            return tape.run(*batch)
        plan.bind(self.functions)
        if (number in self.performed or key in plan.rooms) and not plan.unwritable:
            try:
                self.tapes[number], plan.rooms[key] = write(
                    plan, plan.rooms.get(key), self.state.parameters, self.state.buffers, *batch
                )
                return self.tapes[number].outputs
            except Unwritable:
                plan.unwritable = True
        self.performed.add(number)
        return plan.run(self.state.parameters, self.state.buffers, *batch)

    # Leaving

    def _leave(self, child: Child, status: Status) -> None:
        child.outcome.status = status
        child.outcome.seconds_per_epoch = median(child.durations) if child.durations else math.nan
        child.outcome.parameters = self.plans.activation_parameters(
            self.state, self.alive.index(child), tuple(child.act.parameters)
        )

    def _finish(self, rows: Sequence[int]) -> None:
        """The children that were trained to the end."""
        test = self._evaluate(*self.task.load().test) if self.final else []
        for k in rows:
            child = self.alive[k]
            self._leave(child, "ok")
            if self.final:
                child.outcome.test_loss, child.outcome.test_score = test[k]

    def _keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        if len(rows) == len(self.alive):
            return
        index = torch.tensor(rows, dtype=torch.int64)
        self.alive = [self.alive[k] for k in rows]
        if not rows:
            return
        self.functions = Activations([one.function for one in self.alive])
        self.tapes = {}
        self.optimiser.keep(index)
        fixed = {n: p[index] for n, p in self.state.parameters.items() if n not in self.names}
        self.state = State(
            {**fixed, **dict(zip(self.names, self.optimiser.parameters, strict=True))},
            {n: b if n in self.state.shared else b[index] for n, b in self.state.buffers.items()},
            self.state.shared,
        )

    def _share(self, seconds: float, children: Sequence[Child]) -> None:
        for child in children:
            child.outcome.seconds += seconds / len(children)
