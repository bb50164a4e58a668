"""Trainings that need no torch: the same weights and results, in a process that never loads it."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

import nonlin as nl
from nonlin import native
from nonlin.native.training import Training
from nonlin.tasks import task
from nonlin.train import fit
from nonlin.train.engine import fit_in_core, outcome_of, train_model_in_core, training
from nonlin.train.initial import initial_model

pytestmark = pytest.mark.skipif(not native.available(), reason=native.reason())

SHORT = replace(task("digits-mlp"), budget=nl.Budget(epochs=4, batch_size=128, learning_rate=2e-3))
FORMULAS = ["relu", "x*sigmoid(beta*x)", "crrelu", "sin(x)", "sqrt(x)", "1", "a*tanh(b*x)"]


def model_of(trained, act, seed, per="channel", normalise=True, protocol="common"):
    torch.manual_seed(seed)
    return initial_model(trained, act, per, normalise, protocol)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(
    ("per", "normalise", "protocol"),
    [("channel", True, "common"), ("tensor", True, "common"), ("channel", False, "common"), ("channel", True, "selu")],
)
def test_the_first_weights_are_the_models_to_the_last_bit(formula, per, normalise, protocol):
    act = nl.activation(formula)
    shared = training(SHORT, 3, normalise=normalise, per=per, protocol=protocol)
    expected = parameters_to_vector(model_of(SHORT, act, 3, per, normalise, protocol).parameters())
    function = native.function(act.expr, tuple(act.parameters))
    found = shared.initial_weights(function, tuple(act.parameters.values()))
    assert np.array_equal(found, expected.detach().numpy())


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("rungs", [{}, {1: 0.0}, {2: 1.0, 3: 0.5}])
def test_the_result_is_that_of_training_the_model(formula, rungs):
    act = nl.activation(formula)
    found, model = fit_in_core(SHORT, act, 3, rungs=rungs), model_of(SHORT, act, 3)
    expected = train_model_in_core(model, SHORT, act, 3, rungs)
    assert (found.status, found.epochs, found.curves) == (expected.status, expected.epochs, expected.curves)
    assert found.parameters == pytest.approx(expected.parameters, rel=1e-6)


def test_regression_has_its_scores():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 3))
    data = nl.Data.from_arrays(x, x[:, 0] - x[:, 1])
    waves = nl.Task("waves", build_waves, data, nl.Budget(epochs=5, batch_size=32, optimizer="sgd", learning_rate=0.01))
    found, expected = fit_in_core(waves, nl.activation("swish")), fit(waves, "swish")
    assert found.curves["score"] == pytest.approx(expected.curves["score"], abs=1e-4)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)


def build_waves(act):
    return nn.Sequential(nn.Linear(3, 16), act(16), nn.Linear(16, 1))


def build_by_function(act):
    """An initialisation that asks what the activation is, as that of Sitzmann et al. (2020) for sines."""
    first = act(16)
    model = nn.Sequential(nn.Linear(64, 16), first, nn.Linear(16, 10))
    if "sin" in str(first.expr):
        with torch.no_grad():
            model[0].weight.mul_(30)
    return model


def test_weights_that_depend_on_the_function_are_not_shared():
    own = replace(SHORT, name="own", build=build_by_function)
    assert training(own) is None
    for formula in ("sin(x)", "tanh(x)"):
        assert fit_in_core(own, nl.activation(formula)).loss == pytest.approx(fit(own, formula).loss, rel=1e-3)


def test_a_learning_rate_of_its_own():
    faster = replace(SHORT, budget=replace(SHORT.budget, learning_rate=5e-3))
    act = nl.activation("gelu")
    found = outcome_of(training(SHORT).train(act.expr, {}, learning_rate=5e-3), SHORT)
    assert found.curves == fit_in_core(faster, act).curves != fit_in_core(SHORT, act).curves


def test_a_layout_that_the_core_does_not_know_is_left_to_others():
    shared = training(SHORT)
    other = Training(*[None if name == "per" else getattr(shared, name) for name in shared.__dataclass_fields__])
    assert other.train(nl.activation("swish").expr, {"beta": 1.0}) is None
    assert other.train(nl.activation("relu").expr, {}).status == "ok"


def test_trains_where_torch_is_never_loaded(tmp_path):
    shared, act = training(SHORT), nl.activation("swish")
    (tmp_path / "shared.pickle").write_bytes(pickle.dumps(shared))
    code = (
        "import pickle, sys\n"
        "from nonlin.run.job import Job\n"
        f"shared = pickle.load(open({str(tmp_path / 'shared.pickle')!r}, 'rb'))\n"
        "job = Job(0, 'x*sigmoid(beta*x)', {'beta': 1.0}, 0, True, 'channel', {}, 'core')\n"
        "print(job.trained(shared).curves.tolist())\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    curves = np.array(eval(found.stdout, {"nan": np.nan}))
    assert curves[3].tolist() == fit_in_core(SHORT, act).curves["loss"]
