"""A small task that trains in milliseconds, importable by worker processes."""

import os
import signal

import numpy as np
from torch import nn

import nonlin as nl


def data() -> nl.Data:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(200, 2))
    return nl.Data.from_arrays(x, (x[:, 0] * x[:, 1] > 0).astype(int))


def build(act) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), act(8), nn.Linear(8, 2))


def build_and_die_for_cosh(act) -> nn.Module:
    if "cosh" in str(act.activation.expr):
        os.kill(os.getpid(), signal.SIGKILL)
    return build(act)


TASK = nl.Task("small", build, data, nl.Budget(epochs=4, batch_size=64, learning_rate=0.02))
DEADLY = nl.Task("deadly", build_and_die_for_cosh, data, nl.Budget(epochs=4, batch_size=64, learning_rate=0.02))
