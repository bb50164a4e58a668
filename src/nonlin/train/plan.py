"""A recording performed for K children at once: every value that differs between children has K in front.

Which values differ is known beforehand: those that follow from parameters. The batch, dropout's masks and whatever
follows from them alone are computed once. An operation on values that differ is done by its rule
(`nonlin.train.rules`), otherwise by torch's own batching rule (`torch.vmap`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx

from nonlin.native.stacked_activation import Activations
from nonlin.train.capture import Recording
from nonlin.train.layer_rules import RULES
from nonlin.train.rules import Operation, Site


@dataclass
class Instruction:
    """`function` of the values at `inputs` becomes the value at `output`; those at `last` are needed no more."""

    function: Callable[..., Any]
    inputs: tuple[int, ...]
    output: int
    last: tuple[int, ...] = ()
    name: str = ""


@dataclass
class Plan:
    """Instructions over numbered values; the first are the recording's inputs.

    Attributes
    ----------
    shared : the names of buffers that are one for all children
    sites : the activations, to be given their functions by `bind`
    rooms, unwritable : what `nonlin.train.tape` learned of it
    """

    recording: Recording
    shared: frozenset[str]
    instructions: list[Instruction] = field(default_factory=list)
    outputs: list[int | None] = field(default_factory=list)
    stacked_outputs: list[bool] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    size: int = 0
    constants: dict[int, Any] = field(default_factory=dict)
    rooms: dict[tuple[int, ...], Any] = field(default_factory=dict)
    unwritable: bool = False

    def bind(self, activations: Activations) -> None:
        """The children's functions, in the order of the rows of everything that is stacked."""
        for site in self.sites:
            site.activations = activations

    def run(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], *batch: Tensor
    ) -> list[Tensor | None]:
        """The recording's outputs, those that differ with K in front. Stacked buffers are changed in place."""
        values: list[Any] = [None] * self.size
        inputs = [
            *(parameters[n] for n in self.recording.parameters),
            *(buffers[n] for n in self.recording.buffers),
            *batch,
        ]
        values[: len(inputs)] = inputs
        for place, constant in self.constants.items():
            values[place] = constant
        for one in self.instructions:
            values[one.output] = one.function(*[values[place] for place in one.inputs])
            for place in one.last:
                values[place] = None
        return [None if place is None else values[place] for place in self.outputs]


def plan(recording: Recording, shared: frozenset[str]) -> Plan:
    """Choose a rule for every operation.

    Raises
    ------
    Unstackable : an operation has neither a rule nor a batching rule of torch's
    """
    made = Plan(recording, shared)
    places: dict[fx.Node, int] = {}
    stacked: dict[fx.Node, bool] = {}
    sites: dict[tuple[Any, ...], Site] = {}
    for node in recording.graph.nodes:
        if node.op == "output":
            _finish(made, node, places, stacked)
            break
        places[node] = len(places)
        if node.op == "placeholder":
            stacked[node] = _differs(recording, shared, len(places) - 1)
        elif node.op == "get_attr":
            made.constants[places[node]] = getattr(recording.module, str(node.target))
            stacked[node] = False
        else:
            operation = _operation(node, stacked, sites, made)
            stacked[node] = operation.stacked
            if operation.constant:
                made.constants[places[node]] = operation.function(RULES)(*operation.tensors)
                continue
            inputs = tuple(places[one] for one in operation.tensors)
            made.instructions.append(
                Instruction(operation.function(RULES), inputs, places[node], name=str(node.target))
            )
    made.size = len(places)
    _release(made)
    return made


def _differs(recording: Recording, shared: frozenset[str], number: int) -> bool:
    if number < len(recording.parameters):
        return True
    number -= len(recording.parameters)
    return number < len(recording.buffers) and recording.buffers[number] not in shared


def _operation(
    node: fx.Node, stacked: dict[fx.Node, bool], sites: dict[tuple[Any, ...], Site], made: Plan
) -> Operation:
    operation = Operation(node, stacked)
    if str(node.target).startswith("nonlin.slot"):
        key = node.args[-3:]  # x, values and dim, of the slot and of its backward alike
        if key not in sites:
            sites[key] = Site()
            made.sites.append(sites[key])
        operation.site = sites[key]
        operation.site.differentiated |= operation.name == "nonlin.slot_backward.default"
    return operation


def _finish(made: Plan, node: fx.Node, places: dict[fx.Node, int], stacked: dict[fx.Node, bool]) -> None:
    for one in node.args[0]:  # type: ignore[union-attr]
        made.outputs.append(None if one is None else places[one])  # type: ignore[index]
        made.stacked_outputs.append(one is not None and stacked[one])  # type: ignore[index]


def _release(made: Plan) -> None:
    """Tell every instruction which values it is the last to use."""
    kept = {place for place in made.outputs if place is not None}
    seen = set(kept)
    for one in reversed(made.instructions):
        last = {place for place in (*one.inputs, one.output) if place not in seen}
        one.last = tuple(last)
        seen |= last
