"""Ray Tune tries activations at several learning rates, each function once: python examples/ray_tune_search.py

Needs  pip install 'nonlin[ray]'  (Ray Tune is a part of it). Two processes on this machine, nothing outside it.
"""

import os

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a local cluster of one user; else Ray writes a token file
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune

import nonlin as nl

if __name__ == "__main__":
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    functions = ["relu", "gelu", "max(x, 0)", "x*tanh(x)"]  # relu and max(x, 0) are one function
    tuner = tune.Tuner(
        nl.ray_tune.trainable("tabular-cancer"),
        param_space={
            "activation": nl.ray_tune.grid(functions),
            "learning_rate": tune.grid_search([0.003, 0.01]),
            "epochs": 5,
        },
        tune_config=tune.TuneConfig(metric="loss", mode="min", reuse_actors=True),
        run_config=tune.RunConfig(verbose=0, storage_path=os.path.abspath("ray-results")),
    )
    results = tuner.fit()
    for result in sorted(results, key=lambda one: one.metrics["loss"]):
        config = result.config
        print(f"loss {result.metrics['loss']:.4f}  rate {config['learning_rate']:<6g} {config['activation']}")
    best = results.get_best_result().config
    print(f"report: {len(results)} trials, best {best['activation']} at {best['learning_rate']:g}; one seed each,")
    print("so take the first few to nl.compare before you believe the order.")
    ray.shutdown()
