"""`diagnose`: what goes on inside a network, layer by layer, on one batch.

Sizes of gradients and of updates tell whether every layer learns [Glorot2010]; the share of dead and of
saturated units how much of a layer still works; mean, deviation and entropy of its outputs what it passes
on. See docs/diagnose.md for how to read the numbers.

References
----------
[Glorot2010] X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, section 4
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nonlin.diagnosis import measures
from nonlin.diagnosis.batch import Loss
from nonlin.diagnosis.layers import Wanted, is_activation, label, parameter_values, pointwise
from nonlin.diagnosis.measures import Distribution
from nonlin.diagnosis.observe import Call, Matrix, Observation, observe
from nonlin.diagnosis.tables import Table, json_safe, percent, show
from nonlin.diagnosis.warnings import warnings_of
from nonlin.errors import DiagnosisError

QUANTITIES = (
    "gradient", "update", "dead", "saturated", "sparsity", "moments", "entropy", "pre-activations", "parameters",
)  # fmt: skip


@dataclass(frozen=True)
class ActivationLayer:
    """One call of one activation layer. A share is a number from 0 to 1; None where it cannot be told.

    Attributes
    ----------
    name, call : qualified name, and the number of the call where one module is called several times
    kind, formula : what it is called, and its formula or settings
    shape : of the output; `units` : number of channels, those along `dimension`
    pre_activations : how the input is spread
    mean, std : of the outputs; `finite`: share of outputs that are finite
    zeros, sparsity : share of outputs exactly 0, and within 1e-6 of the outputs' root mean square
    dead, constant : share of units that pass no gradient or no information, see `measures.Units`
    saturated : share of places with |f'| below 5% of the function's largest slope on [-4, 4]
    slope : root mean square of f', by which the layer scales gradients on their way back
    H, J : entropy of the outputs and its scale-free form in nats, seen through noise of 0.1 deviations
    gradient : root mean square of the loss' gradient by the outputs
    parameters : how the trainable values of the activation are spread, by name
    """

    name: str
    call: int
    kind: str
    formula: str
    shape: tuple[int, ...]
    dimension: int
    units: int
    pre_activations: Distribution
    mean: float
    std: float
    finite: float
    zeros: float
    sparsity: float
    dead: float | None
    constant: float | None
    saturated: float | None
    slope: float | None
    H: float | None
    J: float | None
    gradient: float | None
    parameters: dict[str, Distribution]

    @property
    def title(self) -> str:
        """The name, with the call's number where it is not the first."""
        return (self.name or "(model)") + (f" #{self.call}" if self.call > 1 else "")


@dataclass(frozen=True)
class WeightLayer:
    """One matrix of weights.

    Attributes
    ----------
    weight_norm, gradient_norm : Euclidean norms; gradient : root mean square of the gradient's elements
    update_ratio : |update| / |weight|, the speed of learning of one step
    looked_up : rows are picked by whole numbers (an embedding), so that most of the gradient is 0 by nature
    values : how the weights are spread
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weight_norm: float
    gradient_norm: float | None
    gradient: float | None
    update_ratio: float | None
    looked_up: bool
    values: Distribution


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found; `str` shows it as a table.

    Attributes
    ----------
    layers : activation layers in order of execution
    weights : matrices of weights in order of execution
    loss : or None where no loss could be formed; then there are no gradients
    update : in words, which step the update ratios are of
    mode : "training" or "evaluation", the mode the model was in
    notes : what the reader must know about this diagnosis
    """

    layers: tuple[ActivationLayer, ...]
    weights: tuple[WeightLayer, ...]
    loss: float | None
    update: str
    mode: str
    notes: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """What looks wrong, each as one sentence with its number; empty if nothing does."""
        return warnings_of(self)

    def tables(self) -> tuple[Table, ...]:
        """The layers and the weights as rows."""
        layers = tuple(
            (
                layer.title, layer.kind, layer.units, f"{show(layer.pre_activations.mean)} ± "
                f"{show(layer.pre_activations.std)}", f"{show(layer.mean)} ± {show(layer.std)}",
                percent(layer.sparsity), percent(layer.dead), percent(layer.saturated), layer.H, layer.J,
                layer.gradient,
            )
            for layer in self.layers
        )  # fmt: skip
        columns = (
            "layer", "function", "units", "pre-activation", "output", "sparse", "dead", "saturated", "H", "J",
            "gradient",
        )  # fmt: skip
        weights = tuple(
            (w.name, w.kind, "×".join(map(str, w.shape)), w.weight_norm, w.gradient_norm, w.gradient, w.update_ratio)
            for w in self.weights
        )
        named = ("weights", "kind", "shape", "|weight|", "|gradient|", "gradient", "|update|/|weight|")
        return Table("", columns, layers), Table("", named, weights)

    def parameters(self) -> Table:
        """The distribution of the activations' trainable values, layer by layer."""
        rows = tuple(
            (layer.title, name, spread.count, spread.mean, spread.std, *(spread.quantiles[i] for i in (0, 4, 8)))
            for layer in self.layers if layer.call == 1
            for name, spread in layer.parameters.items()
        )  # fmt: skip
        return Table("", ("layer", "parameter", "values", "mean", "std", "least", "median", "largest"), rows)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: what is not finite becomes None."""
        return json_safe({**asdict(self), "warnings": self.warnings()})

    def plot(self, path: str | Path, quantity: str = "all") -> Path:
        """Draw one of `QUANTITIES`, or "all" of them, into a .png, .svg or .pdf file.

        Raises NonlinError for an unknown quantity or file type, or a file that cannot be written.
        """
        from nonlin.report.diagnosis import plot_diagnosis

        return plot_diagnosis([("", self)], Path(path), quantity)

    def __str__(self) -> str:
        loss = "no loss: forward pass only" if self.loss is None else f"loss {self.loss:.4g}"
        parts = [f"{loss}, {self.mode} mode; {self.update}"]
        parts += [str(table) for table in (*self.tables(), self.parameters()) if table.rows]
        remarks = [f"note: {note}" for note in self.notes] + [f"warning: {text}" for text in self.warnings()]
        parts += ["\n".join(remarks)] if remarks else []
        return "\n\n".join(parts)


def diagnose(
    model: nn.Module,
    batch: Any,
    loss: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    layers: Wanted | None = None,
    learning_rate: float = 1e-3,
) -> Diagnosis:
    """Look into a model on one batch. Works on any torch model; changes nothing in it.

    A copy of the model runs in the mode the model is in (training or evaluation), takes the gradient, and
    one step. This needs memory for the copy and for three copies of what the activations hold.

    Parameters
    ----------
    batch : x, a pair (x, y), or a dictionary of keywords with "labels"
    loss : function of (output, target) that returns a scalar tensor. Default: the loss that the model
        returns itself, else cross-entropy for whole-number targets and mean squared error for floats
    optimizer : whose next step to measure, with its state. Default: learning rate times gradient
    layers : names or types of layers to take as activations, besides those that are recognised
    learning_rate : of the default step

    Raises
    ------
    DiagnosisError : for what cannot be diagnosed, with what was expected
    """
    model = _plain(model)
    if not (isinstance(learning_rate, int | float) and 0 < learning_rate < math.inf):
        raise DiagnosisError(f"learning_rate={learning_rate!r} must be a number above 0.")
    if loss is not None and not callable(loss):
        raise DiagnosisError(f"loss must be a function of (output, target); got {type(loss).__name__}.")
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        raise DiagnosisError(f"optimizer must be a torch.optim.Optimizer; got {type(optimizer).__name__}.")
    seen = observe(model, batch, loss, optimizer, layers, learning_rate)
    step = (
        f"updates are the next step of {type(optimizer).__name__}"
        if optimizer
        else f"updates are {learning_rate:g} × gradient"
    )
    return Diagnosis(
        layers=tuple(_layer(call, seen.stand_ins) for call in seen.calls),
        weights=tuple(map(_weight, seen.matrices)),
        loss=seen.loss,
        update="no updates" if seen.loss is None else step,
        mode="training" if model.training else "evaluation",
        notes=tuple(_notes(seen, layers)),
    )


def _plain(model: Any) -> nn.Module:
    """The module itself, out of the wrappers of torch.compile and of parallel training."""
    if not isinstance(model, nn.Module):
        raise DiagnosisError(f"diagnose needs a torch.nn.Module; got {type(model).__name__} {model!r:.60}.")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    return getattr(model, "_orig_mod", model)


def _layer(call: Call, stand_in: bool) -> ActivationLayer:
    kind, formula = label(call.module)
    whole = call.before.is_floating_point() and call.before.shape == call.after.shape and not stand_in
    after = call.after.float() if call.after.dtype.itemsize < 4 else call.after
    slope = None
    if whole and (is_activation(call.module) or pointwise(call.module.eval(), call.before)):
        slope = measures.slope_of(call.module, call.before)
    found = measures.units(after, slope, call.dim)
    zeros, sparsity = measures.zeros(after)
    entropy, free = measures.entropies(after)
    mean, std, finite = measures.moments(after)
    return ActivationLayer(
        name=call.name, call=call.number, kind=kind, formula=formula, shape=tuple(after.shape),
        dimension=call.dim, units=after.shape[call.dim] if after.dim() else 1,
        pre_activations=Distribution.of(call.before), mean=mean, std=std, finite=finite,
        zeros=zeros, sparsity=sparsity, dead=found.dead, constant=found.constant,
        saturated=None if slope is None else measures.saturated(call.module, slope), slope=measures.rms(slope),
        H=entropy, J=free, gradient=measures.rms(call.gradient),
        parameters={} if stand_in or not is_activation(call.module) else
        {name: Distribution.of(values) for name, values in parameter_values(call.module).items()},
    )  # fmt: skip


def _weight(matrix: Matrix) -> WeightLayer:
    size = float(matrix.value.double().norm())
    update = None if matrix.update is None else float(matrix.update.double().norm())
    return WeightLayer(
        name=matrix.name, kind=type(matrix.module).__name__, shape=tuple(matrix.value.shape), weight_norm=size,
        gradient_norm=None if matrix.gradient is None else float(matrix.gradient.double().norm()),
        gradient=measures.rms(matrix.gradient),
        update_ratio=None if update is None else update / size if size > 0 else math.inf,
        looked_up=isinstance(matrix.module, nn.Embedding | nn.EmbeddingBag),
        values=Distribution.of(matrix.value),
    )  # fmt: skip


def _notes(seen: Observation, wanted: Sequence | str | type | None) -> list[str]:
    notes = []
    if seen.stand_ins:
        notes.append(
            "no activation layer was found: functions such as torch.nn.functional.relu leave no module to watch. "
            "The rows are the outputs of layers with weights, which such functions receive. Name layers with "
            "layers=['block.act', MyActivation], or use modules such as nn.ReLU()."
        )
    elif not seen.calls:
        notes.append("the model has activation layers, but this batch did not pass through any of them.")
    if seen.loss is None:
        notes.append("no gradients: pass a pair (x, y), or a dictionary with labels.")
    elif not math.isfinite(seen.loss):
        notes.append(f"no gradients: the loss is {seen.loss}.")
    elif all(matrix.gradient is None for matrix in seen.matrices):
        notes.append("no gradients: no weight is trained (requires_grad is False), or the loss does not depend on one.")
    return notes
