"""The plans of one task's model, one for every shape of batch, made when first needed; and the stacked state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nonlin.expr.tree import Symbol
from nonlin.native.module import ActivationModule, Per
from nonlin.native.program import function
from nonlin.native.stacked_activation import Activations, Slot
from nonlin.tasks import Task
from nonlin.train.batches import pieces
from nonlin.train.capture import Recording, Unstackable, record, template
from nonlin.train.initial import Protocol
from nonlin.train.plan import Plan, plan


@dataclass
class State:
    """The stacked state of a cohort: parameters (K, ...), buffers (K, ...) or, if `shared`, as for one child."""

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    shared: frozenset[str]


class Plans:
    """See the module."""

    def __init__(self, task: Task, per: Per, protocol: Protocol, count: int):
        self.model = template(task, per, protocol, count)
        self.slots = {name: part for name, part in self.model.named_modules() if isinstance(part, Slot)}
        self.recordings: dict[tuple, Recording] = {}
        self.plans: dict[tuple, Plan] = {}
        self.smoothing = task.budget.label_smoothing
        self.example = first_batch(task)
        first = self._recording(*self.example)
        self.changed = _changed(first)
        self.gradients = [one is not None for one in first.graph.output_node().args[0][2:]]  # type: ignore[index, union-attr]
        self.all_shared = frozenset(first.buffers) - self.changed

    def training(self, x: Tensor, y: Tensor, shared: frozenset[str]) -> Plan:
        """Outputs: loss, the model's output, a gradient for each of `trained`."""
        return self._plan(x, y, shared)

    def evaluation(self, x: Tensor, shared: frozenset[str]) -> Plan:
        """Output: the model's."""
        return self._plan(x, None, shared)

    def _recording(self, x: Tensor, y: Tensor | None) -> Recording:
        key = _key(x, y)
        if key not in self.recordings:
            self.recordings[key] = record(self.model, x, y, self.smoothing)
        return self.recordings[key]

    def _plan(self, x: Tensor, y: Tensor | None, shared: frozenset[str]) -> Plan:
        key = (*_key(x, y), shared)
        if key not in self.plans:
            made = plan(self._recording(x, y), shared)
            self._try(made, *([x] if y is None else [x, y]))
            self.plans[key] = made
        return self.plans[key]

    def _try(self, made: Plan, *batch: Tensor) -> None:
        """Unstackable if a plan for two children, with the identity as activation, gives other than the recording."""
        parameters = {n: torch.stack([p.detach()] * 2) for n, p in self.model.named_parameters()}
        buffers = {n: b.clone() if n in made.shared else torch.stack([b] * 2) for n, b in self.model.named_buffers()}
        single = [p.detach().clone() for p in self.model.parameters()] + [b.clone() for b in self.model.buffers()]
        made.bind(Activations([function(Symbol("x"))] * 2))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                expected = made.recording.module(*single, *batch)
                torch.manual_seed(0)
                found = made.run(parameters, buffers, *batch)
        except Exception as error:
            raise Unstackable(f"an operation of its model cannot be stacked ({error})".splitlines()[0][:300]) from None
        for a, b, stacked in zip(expected, found, made.stacked_outputs, strict=True):
            if a is None or b is None:
                continue
            for one in b if stacked else [b]:
                if one.shape != a.shape or not torch.allclose(a, one, rtol=1e-3, atol=1e-4, equal_nan=True):
                    raise Unstackable("an operation of its model gives something else when it is stacked")

    def stack(self, models: Sequence[nn.Module]) -> State:
        """The children's weights, in order."""
        owns = [dict(model.named_parameters()) for model in models]
        parameters = {}
        for name, value in self.model.named_parameters():
            path, _, last = name.rpartition(".")
            if path in self.slots and last == "values":
                parameters[name] = torch.stack([_values(model.get_submodule(path), value) for model in models])
            elif any(name not in own or own[name].shape != value.shape for own in owns):
                raise Unstackable(f"its build function makes another model for other activations (at {name})")
            else:
                parameters[name] = torch.stack([own[name].detach() for own in owns])
        all_buffers = [dict(model.named_buffers()) for model in models]
        shared = {
            name for name in self.all_shared
            if all(torch.equal(own[name], all_buffers[0][name]) for own in all_buffers)
        }  # fmt: skip
        buffers = {
            name: all_buffers[0][name].clone() if name in shared else torch.stack([own[name] for own in all_buffers])
            for name, _ in self.model.named_buffers()
        }
        return State(parameters, buffers, frozenset(shared))

    def trained(self, state: State) -> list[str]:
        """The names of the parameters that get gradients: the others stay as they are, as with torch's optimisers."""
        return [name for name, got in zip(state.parameters, self.gradients, strict=True) if got]

    def activation_parameters(self, state: State, row: int, names: Sequence[str]) -> dict[str, float]:
        """Mean of each activation parameter over all layers and channels."""
        found = {}
        for k, name in enumerate(names):
            parts = [
                state.parameters[f"{path}.values" if path else "values"][row, k].reshape(-1) for path in self.slots
            ]
            found[name] = float(torch.cat(parts).mean())
        return found


def first_batch(task: Task) -> tuple[Tensor, Tensor]:
    """The first rows of a task's training data, as a batch."""
    data, size = task.load(), task.budget.batch_size
    rows = torch.arange(min(size, len(data.train[0])))
    piece = next(pieces(data, rows, size, seed=0, epoch=1))
    return piece.x, piece.y


def _key(x: Tensor, y: Tensor | None) -> tuple:
    return (tuple(x.shape), x.dtype, None if y is None else (tuple(y.shape), y.dtype))


def _values(part: nn.Module, like: Tensor) -> Tensor:
    """A child's activation parameters, as many rows as the slot has; the rest ones."""
    values = torch.ones_like(like)
    if not isinstance(part, ActivationModule):
        raise Unstackable("its build function puts something else where an activation stands")
    for row, value in zip(values, part.parameters(), strict=False):
        row.copy_(value.detach().reshape(-1))
    return values


def _changed(recording: Recording) -> frozenset[str]:
    """Buffers that a training step writes to."""
    nodes = [node for node in recording.graph.nodes if node.op == "placeholder"]
    names = dict(zip(nodes[len(recording.parameters) :], recording.buffers, strict=False))
    written = [
        argument
        for node in recording.graph.nodes
        if node.op == "call_function"
        for argument in (
            node.args[:1] if "copy_" in str(node.target)
            else node.args[3:5] if str(node.target) == "aten.native_batch_norm.default" else ()
        )
    ]  # fmt: skip
    return frozenset(names[one] for one in written if one in names)
