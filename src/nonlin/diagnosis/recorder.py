"""`Recorder`: what a diagnosis tells, over the steps of a training, in any loop.

It watches through hooks and looks at every n-th optimiser step only; in between it costs next to nothing.
It never changes the model; in a step at which it looks it copies the weights once, to see by how much they
move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from nonlin.diagnosis import measures
from nonlin.diagnosis.layers import Wanted, activation_layers, channels_first, is_activation, unit_dimension, weights
from nonlin.diagnosis.tables import Table, json_safe, percent
from nonlin.errors import DiagnosisError

SERIES = ("gradient", "update", "dead", "saturated", "mean", "std")


@dataclass
class Record:
    """Time series: `series[quantity][layer]` holds one value for each of `steps` (NaN where there was none).

    Attributes
    ----------
    gradient : root mean square of the gradient of a matrix of weights, as the backward pass left it (before
        clipping)
    update : |update|/|weight| of the optimiser's real step
    dead, saturated : shares of units and of places of an activation layer, as in `diagnose`
    mean, std : of an activation layer's outputs
    """

    steps: list[int] = field(default_factory=list)
    series: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {name: {} for name in SERIES})

    def add(self, quantity: str, layer: str, value: float) -> None:
        """Put a value at the latest step; earlier steps without one are NaN."""
        values = self.series[quantity].setdefault(layer, [])
        values.extend([math.nan] * (len(self.steps) - 1 - len(values)))
        if len(values) < len(self.steps):
            values.append(value)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; what is not finite becomes None."""
        length = len(self.steps)
        padded = {
            quantity: {layer: values + [math.nan] * (length - len(values)) for layer, values in layers.items()}
            for quantity, layers in self.series.items()
        }
        return json_safe({"steps": self.steps, **padded})


class Recorder:
    """Records gradients, updates, dead units and moments of every layer during training::

        with nonlin.diagnosis.Recorder(model, every=10) as recorder:
            train(model)                      # any loop
        recorder.plot("training.png")

    Steps of ``torch.optim`` optimisers are noticed by themselves; a loop that updates weights in another way
    calls `step` after each update. Forward passes in evaluation mode or without gradients are not looked at.
    Where gradients are accumulated, activations are those of the first forward pass of a step.

    Parameters
    ----------
    every : look at one step of so many; the first step is always looked at
    layers : names or types to take as activations, besides those that are recognised

    Attributes
    ----------
    record : the time series
    optimizer : the last one of ``torch.optim`` that stepped this model; None before there is one
    """

    def __init__(self, model: nn.Module, every: int = 10, layers: Wanted | None = None):
        if not isinstance(model, nn.Module):
            raise DiagnosisError(f"Recorder needs a torch.nn.Module; got {type(model).__name__} {model!r:.60}.")
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise DiagnosisError(f"every={every!r} must be a whole number of steps above 0.")
        self.model, self.every, self.record = model, every, Record()
        self._layers = activation_layers(model, layers)
        self._weights = {name: parameter for name, (_, parameter) in weights(model).items() if parameter.requires_grad}
        self._ours = {id(p) for p in model.parameters()}
        self._handles: list[Any] = []
        self._count = 0
        self._before: dict[str, Tensor] | None = None  # weights before the step that is being looked at
        self._gradients: dict[str, Tensor] = {}
        self._inputs: list[Tensor] = []
        self._calls: dict[str, int] = {}
        self._in_first_pass = False
        self._channels_first: bool | None = None
        self.optimizer: torch.optim.Optimizer | None = None

    def __deepcopy__(self, memo) -> Recorder:
        return self  # a copied model has our hooks too: they see that it is another model and do nothing

    def __enter__(self) -> Recorder:
        if self._handles:
            raise DiagnosisError("this Recorder is watching already; make another one.")
        add = self._handles.append
        add(self.model.register_forward_pre_hook(self._begin))
        for name, module in self._layers.items():
            add(module.register_forward_pre_hook(self._enter_layer, with_kwargs=True))
            add(module.register_forward_hook(self._leave_layer(name)))
        for module in self.model.modules():
            if channels_first(module) or any(p.dim() > 1 for p in module.parameters(recurse=False)):
                add(module.register_forward_hook(self._pass_layer))
        add(self.model.register_forward_hook(self._end))
        for name, parameter in self._weights.items():
            add(parameter.register_post_accumulate_grad_hook(self._keep_gradient(name)))
        add(register_optimizer_step_post_hook(self._notice))
        return self

    def __exit__(self, *_) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._before = [], None

    def step(self) -> None:
        """Tell that the weights were updated; only needed where no ``torch.optim`` optimiser does it."""
        if self.optimizer is None:
            self._finish()

    def plot(self, path: str | Path, quantity: str = "all") -> Path:
        """Draw one of `SERIES`, or "all" of them, over the steps."""
        from nonlin.report.diagnosis import plot_record

        return plot_record(self.record, Path(path), quantity)

    def as_dict(self) -> dict[str, Any]:
        """The record, ready for JSON."""
        return self.record.as_dict()

    def tables(self) -> tuple[Table, ...]:
        """Gradient and speed of learning of each matrix, and dead units of each layer: first and last seen."""
        series = self.record.series
        learning = tuple(
            (name, *_ends(series["gradient"].get(name)), *_ends(series["update"].get(name))) for name in self._weights
        )
        dead = tuple((name, *map(percent, _ends(values))) for name, values in series["dead"].items())
        return (
            Table("", ("weights", "gradient: first", "last", "|update|/|weight|: first", "last"), learning),
            Table("", ("layer", "dead units: first", "last"), dead),
        )

    def __str__(self) -> str:
        return "\n\n".join(str(table) for table in self.tables() if table.rows)

    # what the hooks do

    def _begin(self, module: nn.Module, arguments) -> None:
        """The first forward pass of a step that is due: keep the weights as they are."""
        due = self._before is None and self._count % self.every == 0
        if due and module is self.model and module.training and torch.is_grad_enabled():
            self.record.steps.append(self._count)
            self._before = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
            self._calls, self._inputs, self._in_first_pass = {}, [], True

    def _end(self, module: nn.Module, arguments, output) -> None:
        self._in_first_pass = self._in_first_pass and module is not self.model

    def _pass_layer(self, module: nn.Module, arguments, output) -> None:
        self._channels_first = channels_first(module)

    def _enter_layer(self, module: nn.Module, arguments, keywords) -> None:
        if self._in_first_pass:
            given = next((v for v in (*arguments, *keywords.values()) if isinstance(v, Tensor)), torch.zeros(()))
            self._inputs.append(given.detach().clone())  # the layer may overwrite it

    def _leave_layer(self, name: str):
        def hook(module: nn.Module, arguments, output) -> None:
            if self._in_first_pass and module is self._layers[name] and self._inputs:
                before, after = self._inputs.pop(), output[0] if isinstance(output, tuple) else output
                if isinstance(after, Tensor) and after.is_floating_point():
                    self._calls[name] = number = self._calls.get(name, 0) + 1
                    title = (name or "(model)") + (f" #{number}" if number > 1 else "")
                    self._measure(title, module, before, after.detach())

        return hook

    def _measure(self, title: str, module: nn.Module, before: Tensor, after: Tensor) -> None:
        slope = None
        if is_activation(module) and before.shape == after.shape:
            slope = measures.slope_of(module, before)
            self.record.add("saturated", title, measures.saturated(module, slope))
        found = measures.units(after.float(), slope, unit_dimension(module, after, self._channels_first))
        if found.dead is not None:
            self.record.add("dead", title, found.dead)
        self.record.add("mean", title, float(after.float().mean()))
        self.record.add("std", title, float(after.float().std(unbiased=False)))

    def _keep_gradient(self, name: str):
        def hook(parameter: Tensor) -> None:
            if self._before is not None and parameter.grad is not None:
                gradient = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
                self._gradients[name] = gradient.detach().float().square().mean().sqrt()

        return hook

    def _notice(self, optimizer: torch.optim.Optimizer, arguments, keywords) -> None:
        """After a step of any torch optimizer: ours, if it holds one of our parameters."""
        if any(id(p) in self._ours for group in optimizer.param_groups for p in group["params"]):
            self.optimizer = optimizer
            self._finish()

    def _finish(self) -> None:
        self._count += 1
        if self._before is None:
            return
        for name, before in self._before.items():
            if name not in self._gradients:
                continue
            self.record.add("gradient", name, float(self._gradients[name]))
            if (size := float(before.float().norm())) > 0:
                moved = self._weights[name].detach() - before
                self.record.add("update", name, float(moved.float().norm()) / size)
        self._before, self._gradients, self._in_first_pass = None, {}, False


def _ends(values: list[float] | None) -> tuple[float | None, float | None]:
    """The first and the last finite value."""
    known = [value for value in values or () if math.isfinite(value)]
    return (known[0], known[-1]) if known else (None, None)
