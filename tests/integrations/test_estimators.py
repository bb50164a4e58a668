"""The scikit-learn estimators: their conventions, their use, and that both ways of training are one."""

import pickle
import re
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import nonlin as nl
from nonlin.errors import NonlinError, TrainingError
from nonlin.integrations import estimators

FAST = {"hidden_layer_sizes": (16,), "max_iter": 40, "learning_rate": 0.01}
# reasons of scikit-learn's own, where a check needs what is not installed
NOT_HERE = ("pandas is not installed", "SCIPY_ARRAY_API is not set", "polars", "array_api")
CHECKS = [
    (kind.__name__, check)
    for kind in (nl.NonlinClassifier, nl.NonlinRegressor)
    for _, check in estimator_checks_generator(kind(**FAST))
]


def label(case):
    name, check = case
    keywords = "-".join(f"{key}={value}" for key, value in sorted(check.keywords.items()))
    return f"{name}-{check.func.__name__}-{keywords}"


@pytest.mark.parametrize("case", CHECKS, ids=label)
def test_conventions_of_scikit_learn(case):
    name, check = case
    try:
        check(getattr(nl, name)(**FAST))
    except BaseException as outcome:
        if type(outcome).__name__ == "SkipTest" and any(reason in str(outcome) for reason in NOT_HERE):
            pytest.skip(str(outcome))
        raise


@pytest.fixture(scope="module")
def iris():
    x, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(x), np.array(["setosa", "versicolor", "virginica"])[y]


def test_classifies(iris):
    x, y = iris
    found = nl.NonlinClassifier("swish", (16, 16), max_iter=60, learning_rate=0.01, random_state=0).fit(x, y)
    assert found.score(x, y) > 0.95
    assert list(found.classes_) == ["setosa", "versicolor", "virginica"]
    chances = found.predict_proba(x)
    assert np.allclose(chances.sum(axis=1), 1)
    assert (found.classes_[chances.argmax(axis=1)] == found.predict(x)).all()
    assert found.loss_curve_[-1] < found.loss_curve_[0]


def test_regression_of_one_output_and_two():
    x, y = load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    one = nl.NonlinRegressor("gelu", 16, max_iter=30, learning_rate=0.003, random_state=0).fit(x, y)
    assert one.predict(x).shape == y.shape
    assert one.score(x, y) > 0.45
    two = nl.NonlinRegressor("gelu", 16, max_iter=30, learning_rate=0.003, random_state=0)
    assert two.fit(x, np.stack([y, -y], 1)).predict(x).shape == (len(y), 2)


def test_a_linear_network_does_what_a_linear_regression_does():
    """With the activation x the network is linear: its fit must come to that of least squares."""
    x = np.random.default_rng(0).normal(size=(200, 3))
    y = x @ np.array([0.5, -1.0, 0.25]) + 0.3
    found = nl.NonlinRegressor("x", 8, max_iter=300, learning_rate=0.01, random_state=0).fit(x, y)
    assert np.abs(found.predict(x) - y).max() < 0.01


def test_predictions_are_those_of_the_formula(iris):
    """Forward pass by hand, with the activation's value in float64."""
    x, y = iris
    found = nl.NonlinClassifier("x*tanh(k*x)", 8, max_iter=3, random_state=0).fit(x, y)
    first, act, last = found.model_
    (k,) = [value.detach().numpy() for value in act.parameters()]
    hidden = x @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    hidden = hidden * np.tanh(k * hidden)
    outputs = hidden @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    powers = np.exp(outputs)
    assert np.allclose(found.predict_proba(x), powers / powers.sum(axis=1, keepdims=True), atol=1e-9)


@pytest.mark.parametrize("stop", [False, True])
def test_the_core_and_plain_pytorch_agree(iris, monkeypatch, stop):
    x, y = iris
    settings = {"max_iter": 25, "learning_rate": 0.02, "random_state": 3, "early_stopping": stop, "n_iter_no_change": 2}
    core = nl.NonlinClassifier("swish", 8, **settings).fit(x, y)
    monkeypatch.setattr(estimators, "train_model_in_core", lambda *_, **__: None)
    plain = nl.NonlinClassifier("swish", 8, **settings).fit(x, y)
    assert plain.n_iter_ == core.n_iter_
    assert np.allclose(plain.loss_curve_, core.loss_curve_, rtol=1e-3)
    assert np.allclose(plain.predict_proba(x), core.predict_proba(x), atol=1e-3)


def test_early_stopping_keeps_the_best_weights():
    """Pure noise: the validation loss rises soon, and the weights of its lowest must come back."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(120, 5)), generator.integers(2, size=120)
    settings = {"hidden_layer_sizes": 32, "learning_rate": 0.01, "random_state": 0, "validation_fraction": 0.3}
    stopped = nl.NonlinClassifier(max_iter=200, early_stopping=True, n_iter_no_change=5, **settings).fit(x, y)
    curve = stopped.validation_loss_curve_
    assert stopped.n_iter_ == len(curve) < 200
    assert int(np.argmin(curve)) < len(curve) - 1
    rows, numbers = held_back(stopped, x, y)
    chance = stopped.predict_proba(rows)[np.arange(len(rows)), numbers]
    assert -np.log(chance).mean() == pytest.approx(min(curve), rel=1e-4)


def held_back(found, x, y):
    """The rows that were set aside, by the same split."""
    from sklearn.utils import check_random_state

    seed = int(check_random_state(found.random_state).randint(2**31 - 1))
    _, (rows, numbers) = found._split(x, np.unique(y, return_inverse=True)[1], seed)
    return rows, numbers


def test_grid_search_over_activations(iris):
    x, y = iris
    network = make_pipeline(StandardScaler(), nl.NonlinClassifier(**FAST | {"max_iter": 5}, random_state=0))
    grid = {"nonlinclassifier__activation": ["relu", "x*tanh(x)", nl.activation("swish", beta=2.0)]}
    search = GridSearchCV(network, grid, cv=2).fit(x, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_[-1].activation_.name in ("relu", "x*tanh(x)", "swish")


def test_clone_and_pickle(iris):
    x, y = iris
    found = nl.NonlinClassifier(nl.activation("swish", beta=2.0), 8, max_iter=3, random_state=0)
    assert clone(found).activation.parameters == {"beta": 2.0}
    found.fit(x, y)
    again = pickle.loads(pickle.dumps(found))
    assert (again.predict_proba(x) == found.predict_proba(x)).all()
    assert (clone(found).fit(x, y).predict_proba(x) == found.predict_proba(x)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "no_such"}, "unknown activation 'no_such'"),
        ({"activation": "foo(x)"}, "Unknown function 'foo'"),
        ({"hidden_layer_sizes": "wide"}, "hidden_layer_sizes must be numbers of units"),
        ({"hidden_layer_sizes": (8, 0)}, "must be a whole number above 0; got 0"),
        ({"max_iter": 0}, "max_iter must be a whole number above 0; got 0"),
        ({"learning_rate": -1}, "learning_rate must be a number, 0 or above; got -1"),
        ({"optimizer": "lbfgs"}, "'lbfgs' is not one of"),
        ({"per": "layer"}, "'layer'"),
        ({"early_stopping": True, "validation_fraction": 1.5}, "validation_fraction must be between 0 and 1; got 1.5"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "cannot set aside validation_fraction=0.001"),
    ],
    ids=["name", "formula", "text", "zero", "epochs", "rate", "optimizer", "per", "fraction", "few"],
)
def test_bad_parameters_are_one_message(iris, settings, message):
    with pytest.raises(NonlinError, match=re.escape(message)):
        nl.NonlinClassifier(**settings).fit(*iris)


def test_a_training_that_diverges_says_so_and_a_grid_search_goes_on(iris):
    x, y = 100 * iris[0], np.arange(150.0)
    with pytest.raises(TrainingError, match=r"activation='exp\(x\*\*2\)' diverged in epoch"):
        nl.NonlinRegressor("exp(x**2)", 8, max_iter=2).fit(x, y)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        grid = {"activation": ["tanh", "exp(x**2)"]}
        search = GridSearchCV(nl.NonlinRegressor(hidden_layer_sizes=8, max_iter=2), grid, cv=2).fit(x, y)
    assert search.best_params_ == {"activation": "tanh"}
    assert any("2 fits failed" in str(warning.message) for warning in told)


def test_one_class(iris):
    with pytest.raises(TrainingError, match="one class only"):
        nl.NonlinClassifier().fit(iris[0], ["a"] * 150)


def test_weights_that_decay_train_in_plain_pytorch(iris):
    found = nl.NonlinClassifier("swish", 8, optimizer="adamw", weight_decay=0.1, max_iter=3, random_state=0).fit(*iris)
    assert found.n_iter_ == 3


def test_patience_counts_epochs_without_a_fall():
    from torch import nn

    losses = [1.0, 0.5, 0.6, 0.49, 0.7, 0.8]
    patience = estimators._Patience(nn.Linear(1, 1), epochs=2, tolerance=0.05)
    assert [patience(k, loss) for k, loss in enumerate(losses, 1)] == [False, False, False, True, True, True]
    assert patience.best == 0.49
