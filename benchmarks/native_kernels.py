"""Time of an activation's value and derivative in one pass, over F.silu and over a copy.

One thread, memory reused, medians of interleaved runs:

    python benchmarks/native_kernels.py [--elements 4000000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from nonlin import native
from nonlin.expr import parse
from nonlin.expr.codegen import compile_kernel

FORMULAS = (
    "relu(x)", "x*sigmoid(x)", "tanh(x)", "x*Phi(x)", "sin(x)", "x*tanh(softplus(x))", "tanh(x)*erf(x)",
    "asinh(x) + atan(x)", "x*sigmoid(beta*x)",
)  # fmt: skip


def measure(jobs: dict, rounds: int) -> dict[str, float]:
    """Median seconds of each job, one after another in each round."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--elements", type=int, default=4_000_000)
    options.add_argument("--rounds", type=int, default=9)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    if not native.available():
        raise SystemExit(f"the compiled core is not there: {native.reason()}")
    x = torch.randn(arguments.elements)
    spare = [torch.empty_like(x) for _ in range(3)]
    jobs = {"copy": lambda: spare[0].copy_(x), "F.silu": lambda: torch.ops.aten.silu.out(x, out=spare[0])}
    for formula in FORMULAS:
        f = native.function(parse(formula))
        ones = [1.0] * len(f.parameters)
        partials = (f.expr, *f.partial_expressions)
        kernel, tensors = compile_kernel(partials, f.parameters), [torch.tensor(1.0) for _ in ones]
        jobs[f"{formula}: value"] = lambda f=f, ones=ones: native.forward(f, x, ones, out=spare[0])
        jobs[f"{formula}: all"] = lambda f=f, ones=ones: native.forward_with_derivatives(
            f, x, ones, out=spare[: 2 + len(ones)]
        )
        jobs[f"{formula}: torch"] = lambda kernel=kernel, tensors=tensors: kernel(x, *tensors)
    seconds = measure(jobs, arguments.rounds)
    print(f"{arguments.elements:,} float32, one thread; ns per element: copy {ns(seconds['copy'], x):.2f}, "
          f"F.silu {ns(seconds['F.silu'], x):.2f}")  # fmt: skip
    print(f"{'':24s} {'value':>20s} {'value and derivatives':>34s} {'eager torch':>12s}")
    print(f"{'':24s} {'ns':>6s} {'x silu':>6s} {'x copy':>6s} {'ns':>20s} {'x silu':>6s} {'x copy':>6s} {'ns':>12s}")
    for formula in FORMULAS:
        value, everything = seconds[f"{formula}: value"], seconds[f"{formula}: all"]
        cells = [f"{ns(value, x):6.2f}", ratio(value, seconds["F.silu"]), ratio(value, seconds["copy"])]
        cells += [
            f"{ns(everything, x):20.2f}",
            ratio(everything, seconds["F.silu"]),
            ratio(everything, seconds["copy"]),
        ]
        print(f"{formula:24s}", *cells, f"{ns(seconds[f'{formula}: torch'], x):12.2f}")


def ns(seconds: float, x: torch.Tensor) -> float:
    return 1e9 * seconds / x.numel()


def ratio(seconds: float, other: float) -> str:
    return f"{seconds / other:6.2f}"


if __name__ == "__main__":
    main()
