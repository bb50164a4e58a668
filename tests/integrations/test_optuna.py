"""Activations suggested to Optuna: no function twice, whatever the sampler, the storage or the other parameters."""

import sys
from collections import Counter

import pytest

import nonlin as nl
from nonlin.errors import MissingExtraError, SearchError
from nonlin.expr.identity import IdentityIndex, kind
from nonlin.integrations.choices import drawn
from nonlin.strategies import Space

TINY = Space("tiny", ("a", "-a", "tanh(a)", "a**2"), ("a*b", "a + b"))


@pytest.fixture
def optuna():
    module = pytest.importorskip("optuna")
    module.logging.set_verbosity(module.logging.WARNING)
    return module


def functions(study):
    return [nl.optuna.activation_of(t) for t in study.trials if "activation" in t.user_attrs and t.state.name != "FAIL"]


def repeated(acts):
    index = IdentityIndex()
    return sum(not index.add(act.expr)[1] for act in acts)


def sampler(optuna, name):
    made = {
        "random": lambda: optuna.samplers.RandomSampler(seed=0),
        "tpe": lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=3),
        "tpe-joint": lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=3, multivariate=True),
    }
    return made[name]()


@pytest.mark.filterwarnings("ignore:Argument ``multivariate`` is an experimental feature")
@pytest.mark.parametrize("name", ["random", "tpe", "tpe-joint"])
def test_no_function_twice_in_a_space(optuna, name):
    study = optuna.create_study(sampler=sampler(optuna, name))

    def objective(trial):
        act = nl.optuna.suggest_activation(trial, space="core-1")
        return float(abs(act(1.0) - 0.7)) + trial.suggest_float("other", 0, 1)

    study.optimize(objective, n_trials=25)
    found = functions(study)
    assert len(found) == 25
    assert repeated(found) == 0
    assert {kind(act.expr) for act in found} == {"ordinary"}


def test_a_small_space_is_gone_through_and_then_the_study_ends(optuna):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    study.optimize(lambda trial: len(nl.optuna.suggest_activation(trial, space=TINY).formula), n_trials=100)
    found = functions(study)
    assert repeated(found) == 0
    assert len(found) == len(drawn(TINY, None, 0))
    assert study.trials[-1].state.name == "PRUNED"


def test_the_parameters_are_those_of_the_function(optuna):
    """What the sampler is told must be what was trained."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    study.optimize(lambda trial: len(nl.optuna.suggest_activation(trial, space=TINY).formula), n_trials=8)
    for trial in study.trials:
        names = ("binary 1", "unary 1", "unary 2")
        binary, *unary = (trial.params[f"activation.{name}"] for name in names)
        code = (TINY.binary.index(binary), *(TINY.unary.index(one) for one in unary))
        assert nl.optuna.activation_of(trial).same_as(nl.activation(str(TINY.decode(code))))


def test_a_list_merges_spellings_and_keeps_the_other_parameters_free(optuna):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))

    def objective(trial):
        nl.optuna.suggest_activation(trial, choices=["relu", "max(x, 0)", "gelu"])
        return trial.suggest_float("rate", 0, 1)

    study.optimize(objective, n_trials=12)
    assert {trial.params["activation"] for trial in study.trials} == {"relu", "gelu"}
    assert len(study.trials) == 12


def test_repeats_are_counted_by_function(optuna):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    choices = ["relu", "gelu", "tanh"]
    study.optimize(lambda t: len(nl.optuna.suggest_activation(t, choices=choices, repeats=2).name), n_trials=20)
    assert Counter(act.name for act in functions(study)) == dict.fromkeys(choices, 2)


def test_another_process_sees_what_the_storage_has(optuna, tmp_path):
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log")))
    for _ in range(3):
        study = optuna.create_study(
            study_name="one", storage=storage, load_if_exists=True, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        study.optimize(lambda trial: len(nl.optuna.suggest_activation(trial, space=TINY).formula), n_trials=4)
    found = functions(optuna.load_study(study_name="one", storage=storage))
    assert len(found) == 12
    assert repeated(found) == 0


def test_pruned_counts_and_failed_does_not(optuna):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = []

    def objective(trial):
        act = nl.optuna.suggest_activation(trial, choices=["relu", "gelu"], repeats=1)
        asked.append(act.name)
        if len(asked) == 1:
            raise OSError("out of memory, say")
        raise optuna.TrialPruned

    study.optimize(objective, n_trials=10, catch=(OSError,))
    assert sorted(asked[1:]) == ["gelu", "relu"]


def test_threads_do_not_propose_the_same(optuna):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: len(nl.optuna.suggest_activation(trial, space=TINY).formula), n_trials=12, n_jobs=4)
    assert repeated(functions(study)) == 0


def test_what_the_user_enqueued_is_taken(optuna):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(2):
        study.enqueue_trial({"activation": "gelu"})
    study.optimize(lambda t: len(nl.optuna.suggest_activation(t, choices=["relu", "gelu"], repeats=1).name), n_trials=2)
    assert [act.name for act in functions(study)] == ["gelu", "gelu"]


def test_a_fixed_trial_gives_the_best_again(optuna):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: len(nl.optuna.suggest_activation(trial, space=TINY).formula), n_trials=3)
    again = nl.optuna.suggest_activation(optuna.trial.FixedTrial(study.best_params), space=TINY)
    assert again.formula == nl.optuna.activation_of(study.best_trial).formula


def test_a_space_of_several_shapes(optuna):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=2))
    study.optimize(lambda t: len(nl.optuna.suggest_activation(t, space="surrogate-paper").formula), n_trials=6)
    assert repeated(functions(study)) == 0
    assert all("activation.shape" in trial.params for trial in study.trials)


def test_initial_values_come_back(optuna):
    study = optuna.create_study()
    choices = [nl.activation("swish", beta=2.5)]
    study.optimize(lambda trial: nl.optuna.suggest_activation(trial, choices=choices)(1.0), n_trials=1)
    assert nl.optuna.activation_of(study.best_trial).parameters == {"beta": 2.5}


def test_asked_and_told_an_exhausted_list_is_an_error(optuna):
    study = optuna.create_study()
    nl.optuna.suggest_activation(study.ask(), choices=["relu"], repeats=1)
    with pytest.raises(SearchError, match="none is left to propose"):
        nl.optuna.suggest_activation(study.ask(), choices=["relu"], repeats=1)


def test_other_choices_than_the_study_has(optuna):
    study = optuna.create_study()
    nl.optuna.suggest_activation(study.ask(), choices=["relu", "gelu"])
    with pytest.raises(SearchError, match="with other choices"):
        nl.optuna.suggest_activation(study.ask(), choices=["relu", "tanh"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "got neither"),
        ({"choices": ["relu"], "space": "core-1"}, "got both"),
        ({"choices": "relu"}, "must be a list"),
        ({"choices": ["relu"], "repeats": 0}, "repeats must be a whole number above 0"),
        ({"space": "kore-1"}, "unknown space"),
        ({"choices": ["no_such"]}, "unknown activation"),
    ],
    ids=["neither", "both", "text", "repeats", "space", "name"],
)
def test_bad_input(optuna, arguments, message):
    with pytest.raises(nl.errors.NonlinError, match=message):
        nl.optuna.suggest_activation(optuna.create_study().ask(), **arguments)


def test_no_trial(optuna):
    with pytest.raises(SearchError, match=r"takes an optuna\.Trial first; got str"):
        nl.optuna.suggest_activation("activation", choices=["relu"])
    study = optuna.create_study()
    study.optimize(lambda trial: 1.0, n_trials=1)
    with pytest.raises(SearchError, match="has no activation called"):
        nl.optuna.activation_of(study.best_trial)


def test_without_optuna_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"nonlin\[optuna\]"):
        nl.optuna.suggest_activation(None, choices=["relu"])
