"""Children per second and core: the compiled engine against a plain PyTorch loop, one child after another.

The task is the digits (scikit-learn), a 64-64-64-10 perceptron, 20 epochs, batch 128, Adam, validated after
each epoch. One thread, interleaved, medians; the same weights and batches, and the final losses are
compared.

    python benchmarks/native_children.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils import parameters_to_vector

from nonlin import native
from nonlin.expr import parse
from nonlin.expr.codegen import compile_kernel

FORMULAS = (
    "relu(x)", "tanh(x)", "x*sigmoid(x)", "x*Phi(x)", "x*tanh(softplus(x))", "sin(x)", "min(x, sin(x))",
    "x*sigmoid(beta*x)", "exp(-beta*(x - sin(x))**2)", "max(tanh(x), x**2)", "atan(x) + asinh(x)", "x*exp(-x**2)",
)  # fmt: skip
EPOCHS, BATCH, RATE = 20, 128, 1e-3
NETWORK = native.Network((64, 64, 64, 10))


class PlainActivation(nn.Module):
    """The formula in torch's own operations, differentiated by autograd."""

    def __init__(self, function: native.Function):
        super().__init__()
        self.kernel = compile_kernel((function.expr,), function.parameters)
        self.values = nn.ParameterList(nn.Parameter(torch.tensor(1.0)) for _ in function.parameters)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.kernel(x, *self.values)[0]


def plain_model(function: native.Function) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 64), PlainActivation(function), nn.Linear(64, 64), PlainActivation(function), nn.Linear(64, 10)
    )


def plain_training(model: nn.Module, data: native.Data, order: np.ndarray) -> float:
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    x, y, valid_x, valid_y = (torch.from_numpy(a) for a in (data.train_x, data.train_y, data.valid_x, data.valid_y))
    valid = torch.tensor(float("nan"))
    for epoch in range(EPOCHS):
        for rows in torch.from_numpy(order[epoch]).split(BATCH):
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            outputs = model(valid_x)
            valid = nn.functional.cross_entropy(outputs, valid_y)
            (outputs.argmax(1) == valid_y).double().mean()
    return valid.item()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    if not native.available():
        raise SystemExit(f"the compiled core is not there: {native.reason()}")
    pixels, classes = load_digits(return_X_y=True)
    pixels, classes = np.ascontiguousarray(pixels / 16, dtype=np.float32), classes.astype(np.int64)
    data = native.Data(pixels[:1437], classes[:1437], pixels[1437:], classes[1437:])
    generator = np.random.default_rng(0)
    order = np.stack([generator.permutation(1437) for _ in range(EPOCHS)])
    from nonlin.native.library import load

    core = load()
    assert core is not None
    print(f"digits, 64-64-64-10, {EPOCHS} epochs, batch {BATCH}, Adam; one thread; core on {core.isa}")
    print(f"{'':28s} {'plain ms':>9s} {'engine ms':>9s} {'ratio':>6s} {'validation loss, plain and engine':>36s}")
    totals = [0.0, 0.0]
    plain_model(native.function(parse("x")))  # torch's first call is slow
    for formula in FORMULAS:
        function = native.function(parse(formula))
        assert function.supported
        times: list[list[float]] = [[], []]
        for seed in range(arguments.rounds):
            torch.manual_seed(seed)
            model = plain_model(function)
            weights = parameters_to_vector(model.parameters()).detach().numpy().copy()
            begin = time.perf_counter()
            plain = plain_training(model, data, order)
            middle = time.perf_counter()
            child = native.Child(function, weights, order, RATE)
            native.train_mlp(NETWORK, [child], data, batch=BATCH)
            end = time.perf_counter()
            times[0].append(middle - begin)
            times[1].append(end - middle)
        medians = [statistics.median(one) for one in times]
        totals = [total + one for total, one in zip(totals, medians, strict=True)]
        print(
            f"{formula:28s} {1e3 * medians[0]:9.1f} {1e3 * medians[1]:9.1f} {medians[0] / medians[1]:6.1f} "
            f"{plain:18.6f} {child.valid_loss[-1]:17.6f}"
        )
    rates = [len(FORMULAS) / total for total in totals]
    print(
        f"children per second and core: plain {rates[0]:.1f}, engine {rates[1]:.1f}, ratio {totals[0] / totals[1]:.2f}"
    )


if __name__ == "__main__":
    main()
