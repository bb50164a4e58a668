"""scikit-learn: multilayer perceptrons with any activation, as a classifier and a regressor.

    GridSearchCV(NonlinClassifier(), {"activation": ["relu", "gelu", "x*tanh(x)"]}).fit(x, y)

The networks are built, initialised (each by its own function's gain) and trained as the children of a search are: in
the compiled core where it can, else in plain PyTorch. Rows are taken as they come: put a StandardScaler before it, in
a Pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nonlin.errors import TrainingError
from nonlin.native.module import Per
from nonlin.run.local import one_thread
from nonlin.tasks import ActivationFactory, Budget, Data, Task
from nonlin.tasks.weights import he_for_relu
from nonlin.train import Outcome
from nonlin.train.engine import train_model_in_core
from nonlin.train.fit import train_model
from nonlin.train.initial import initial_model
from nonlin.train.pace import Pace
from nonlin.zoo import Activation, activation


@dataclass(frozen=True)
class _Perceptron:
    """Builds Linear, activation, ..., Linear; He-initialised for ReLU, as the gains expect."""

    widths: tuple[int, ...]

    def __call__(self, activation: ActivationFactory) -> nn.Module:
        *inner, outputs = self.widths[1:]
        layers: list[nn.Module] = []
        for before, after in zip(self.widths, inner, strict=False):
            layers += [nn.Linear(before, after), activation(after)]
        model = nn.Sequential(*layers, nn.Linear(self.widths[-2], outputs))
        he_for_relu(model)
        return model


class _Enough(Exception):
    """Ends a training in plain PyTorch from within its watcher."""


class _Patience:
    """Ends a training whose validation loss has stopped falling; keeps the weights of its lowest."""

    def __init__(self, model: nn.Module, epochs: int, tolerance: float):
        self.model, self.epochs, self.tolerance = model, epochs, tolerance
        self.best, self.bar, self.waited, self.step = math.inf, math.inf, 0, 0
        self.weights: torch.Tensor | None = None

    def __call__(self, epoch: int, loss: float) -> bool:
        """Whether it is enough after this epoch."""
        if loss < self.best:
            self.best, self.weights = loss, parameters_to_vector(self.model.parameters()).detach().clone()
        self.waited = 0 if loss < self.bar - self.tolerance else self.waited + 1
        self.bar = min(self.bar, loss)
        return self.waited >= self.epochs

    def stepped(self, pace: Pace) -> None:
        """Told by the loop in plain PyTorch after every step, and once more after an epoch's validation."""
        validated, self.step = pace.step == self.step, pace.step
        if validated and self(pace.epoch, pace.loss):
            raise _Enough

    def resumed(self, step: int, steps: int) -> None: ...

    def restore(self) -> None:
        if self.weights is not None:
            vector_to_parameters(self.weights.clone(), self.model.parameters())


class _Network(BaseEstimator):
    """What classifier and regressor share."""

    _stratified = False

    def __init__(
        self,
        activation: Activation | str = "gelu",
        hidden_layer_sizes: Sequence[int] | int = (64, 64),
        *,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        batch_size: int = 32,
        weight_decay: float = 0.0,
        max_iter: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        normalise: bool = True,
        per: Per = "channel",
        random_state: int | np.random.RandomState | None = None,
    ):
        self.activation = activation
        self.hidden_layer_sizes = hidden_layer_sizes
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.normalise = normalise
        self.per = per
        self.random_state = random_state

    def _train(self, x: np.ndarray, y: np.ndarray, outputs: int) -> None:
        """Fit `model_`; x (rows, features), y class numbers or floats (rows,) or (rows, outputs)."""
        self._check_parameters()
        self.activation_ = activation(self.activation)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        task = self._task(x, y, outputs, seed)
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = initial_model(task, self.activation_, self.per, self.normalise, "common")
            outcome = self._run(model, task, seed)
        if outcome.status == "diverged":
            raise TrainingError(
                f"the training with activation={self.activation_.name!r} diverged in epoch {outcome.epochs + 1}: its "
                f"loss is not finite. Standardise the inputs (a StandardScaler in a Pipeline), or lower "
                f"learning_rate={self.learning_rate!r}."
            )
        self.model_ = model.double().eval()  # predictions in float64 do not depend on how rows are batched
        self.n_iter_ = outcome.epochs
        self.loss_curve_ = outcome.curves["train_loss"]
        if self.early_stopping:
            self.validation_loss_curve_ = outcome.curves["loss"]

    def _run(self, model: nn.Module, task: Task, seed: int) -> Outcome:
        patience = _Patience(model, self.n_iter_no_change, self.tol) if self.early_stopping else None
        outcome = train_model_in_core(model, task, self.activation_, seed, enough=patience)
        if outcome is None:
            outcome = Outcome("ok")
            try:
                train_model(model, task, seed, outcome, watcher=patience)
            except _Enough:
                outcome.status = "stopped"
        if patience and outcome.status != "diverged":
            patience.restore()
        return outcome

    def _task(self, x: np.ndarray, y: np.ndarray, outputs: int, seed: int) -> Task:
        x = x.astype(np.float32)
        train: tuple[Any, Any] = (x, y)
        validation: tuple[Any, Any] = (x[:1], y[:1])  # one row, where nobody looks at the validation loss
        if self.early_stopping:
            train, validation = self._split(x, y, seed)
        budget = Budget(
            epochs=self.max_iter,
            batch_size=min(self.batch_size, len(train[0])),
            optimizer=self.optimizer,  # type: ignore[arg-type]
            learning_rate=float(self.learning_rate),
            weight_decay=float(self.weight_decay),
            device="cpu",
        )
        widths = (x.shape[1], *self._hidden(), outputs)
        data = Data(train, validation, validation)
        return Task(type(self).__name__, _Perceptron(widths), data, budget)

    def _split(self, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[tuple, tuple]:
        try:
            parts = train_test_split(
                x, y, test_size=self.validation_fraction, random_state=seed, stratify=y if self._stratified else None
            )
        except ValueError as error:
            raise TrainingError(
                f"early_stopping cannot set aside validation_fraction={self.validation_fraction!r} of {len(x)} rows: "
                f"{error} Give more rows or another share, or early_stopping=False."
            ) from None
        return (parts[0], parts[2]), (parts[1], parts[3])

    def _hidden(self) -> tuple[int, ...]:
        sizes = self.hidden_layer_sizes
        return (sizes,) if isinstance(sizes, Integral) else tuple(sizes)  # type: ignore[return-value,arg-type]

    def _check_parameters(self) -> None:
        """TrainingError for a parameter that cannot be used; the rest is checked by `Budget`."""
        sizes = self.hidden_layer_sizes
        if not isinstance(sizes, Integral | Sequence | np.ndarray) or isinstance(sizes, str | bool):
            raise TrainingError(f"hidden_layer_sizes must be numbers of units, such as (64, 64); got {sizes!r}.")
        whole = {f"hidden_layer_sizes={sizes!r}: a layer": size for size in self._hidden()}
        whole |= {name: getattr(self, name) for name in ("batch_size", "max_iter", "n_iter_no_change")}
        for name, value in whole.items():
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise TrainingError(f"{name} must be a whole number above 0; got {value!r}.")
        for name in ("learning_rate", "weight_decay", "tol"):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < math.inf:
                raise TrainingError(f"{name} must be a number, 0 or above; got {value!r}.")
        if self.early_stopping and not 0 < self.validation_fraction < 1:
            raise TrainingError(f"validation_fraction must be between 0 and 1; got {self.validation_fraction!r}.")
        if self.per not in ("channel", "tensor"):
            raise TrainingError(f"per must be 'channel' or 'tensor'; got {self.per!r}.")

    def _outputs(self, x: Any) -> np.ndarray:
        """The network's outputs, (rows, outputs), float64."""
        check_is_fitted(self)
        rows = validate_data(self, x, reset=False, dtype=np.float64)
        with torch.no_grad(), one_thread():
            return self.model_(torch.from_numpy(np.ascontiguousarray(rows))).numpy()


class NonlinClassifier(ClassifierMixin, _Network):
    """A multilayer perceptron with any activation, as a scikit-learn classifier.

    Parameters
    ----------
    activation : name, formula or activation; trainable parameters are trained with the weights
    hidden_layer_sizes : units of each hidden layer
    optimizer : "adam", "adamw" or "sgd" (momentum 0.9)
    learning_rate, batch_size, weight_decay : of the optimizer; decay spares the activation's own parameters
    max_iter : epochs
    early_stopping : set rows aside, stop when their loss has not fallen by `tol` for `n_iter_no_change` epochs, and
        keep the weights of its lowest
    validation_fraction : the share of rows set aside
    normalise : scale the initial weights by the function's own gain, so that no function is at an advantage
        merely because it is larger
    per : trainable parameters of the activation per "channel" or per "tensor"
    random_state : of initial weights, the order of batches and the rows set aside

    Attributes
    ----------
    classes_, n_features_in_, feature_names_in_ : as everywhere in scikit-learn
    activation_ : the `nonlin.Activation`; model_ : the trained ``nn.Module``, in float64
    n_iter_, loss_curve_, validation_loss_curve_ : epochs trained; mean training loss, and validation loss, of each

    Raises
    ------
    NonlinError : for parameters or an activation that cannot be used, and when the loss does not stay finite;
        also a ValueError, which GridSearchCV scores as NaN. There are no sample weights.
    """

    _stratified = True

    def fit(self, X: Any, y: Any) -> NonlinClassifier:
        """Train on X (rows, features) and labels y (rows,)."""
        x, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            only = self.classes_.tolist()[0]
            raise TrainingError(f"y holds one class only, {only!r}; a classifier needs two or more.")
        self._train(x, numbers.astype(np.int64), len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, (rows, classes), in the order of `classes_`."""
        outputs = self._outputs(X)
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row."""
        chosen = self._outputs(X).argmax(axis=1)
        return self.classes_[chosen]


class NonlinRegressor(RegressorMixin, _Network):
    """A multilayer perceptron with any activation, as a scikit-learn regressor of one output or several.

    Parameters, attributes and errors as for `NonlinClassifier`. The loss is the mean squared error. Targets are taken
    as they come: a TransformedTargetRegressor standardises them.
    """

    def fit(self, X: Any, y: Any) -> NonlinRegressor:
        """Train on X (rows, features) and targets y, (rows,) or (rows, outputs)."""
        x, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._single = targets.ndim == 1
        self._train(x, targets.astype(np.float32), 1 if self._single else targets.shape[1])
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """(rows,), or (rows, outputs) as in training."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._single else outputs
