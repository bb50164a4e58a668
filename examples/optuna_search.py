"""Optuna searches activation and learning rate together, no function twice: python examples/optuna_search.py

Needs  pip install 'nonlin[optuna]'.
"""

import optuna
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nonlin as nl

X, Y = load_breast_cancer(return_X_y=True)


def objective(trial):
    act = nl.optuna.suggest_activation(trial, space="core-1")  # one of some 3,700 different functions
    rate = trial.suggest_float("learning_rate", 1e-3, 3e-2, log=True)
    network = nl.NonlinClassifier(act, 16, learning_rate=rate, max_iter=8, random_state=0)
    return cross_val_score(make_pipeline(StandardScaler(), network), X, Y, cv=3).mean()


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.enqueue_trial(
        {"activation.binary 1": "max(a, b)", "activation.unary 1": "a", "activation.unary 2": "0"}
    )  # ReLU
    study.optimize(objective, n_trials=12)
    for trial in sorted(study.trials, key=lambda one: -one.value)[:5]:
        print(f"{trial.value:.4f}  rate {trial.params['learning_rate']:.4f}  {nl.optuna.activation_of(trial)}")
    tried = {nl.optuna.activation_of(trial).formula for trial in study.trials}
    relu = study.trials[0].value
    print(
        f"report: {len(tried)} functions in {len(study.trials)} trials; ReLU {relu:.4f}, best {study.best_value:.4f}."
    )
    print("The best of a dozen noisy scores flatters itself: confirm it with nl.compare and fresh seeds.")
