"""Your model and your data, for the one loop: nonlin pipeline examples/train.py --budget 30 --top 2

`build` and `data` are all that nonlin needs. What the script trains by itself stays under the last line.
"""

from pathlib import Path

from torch import nn

import nonlin as nl

budget = nl.Budget(epochs=25, batch_size=16, learning_rate=0.01)


def build(activation):
    """Call `activation(channels)` wherever a non-linearity stands."""
    return nn.Sequential(nn.Linear(4, 16), activation(16), nn.Linear(16, 16), activation(16), nn.Linear(16, 3))


def data():
    """150 flowers: four lengths each, and which of three kinds it is."""
    return nl.Data.from_csv(Path(__file__).with_name("iris.csv"), target="species")


if __name__ == "__main__":
    found = nl.pipeline(__file__, "train-pipeline", budget=12, top=1, seeds=7, baselines=["relu", "gelu"])
    print(found.summary())
    print("report:", found.files["confirm report"])
