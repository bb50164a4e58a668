"""Search activations for your own model and your own CSV file: python examples/own_data.py"""

from pathlib import Path

from torch import nn

import nonlin as nl


def build(activation):
    """Your model. Call `activation(channels)` wherever a non-linearity stands."""
    return nn.Sequential(nn.Linear(4, 16), activation(16), nn.Linear(16, 16), activation(16), nn.Linear(16, 3))


task = nl.Task(
    name="iris",
    build=build,
    data=nl.Data.from_csv(Path(__file__).with_name("iris.csv"), target="species"),
    budget=nl.Budget(epochs=30, batch_size=16, learning_rate=0.01),
)

if __name__ == "__main__":
    study = nl.search(task, budget=40, store="own_data.db")
    for trial in study.top(5):
        print(f"{trial.score:.3f}  {trial.role:9}  {trial.name}")
    print("report:", study.report("own_data.html"))
