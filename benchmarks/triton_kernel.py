"""The Triton kernel of activations on a GPU: K children in one launch against torch's operators, child by child.

    python benchmarks/triton_kernel.py [--children 16] [--elements 4096 65536 1048576] [--rounds 20] [--dtype float32]

First every child's value and gradients are compared with float64; then value and gradients are timed, both ways in
turns, from CUDA events: medians, and the time of a copy of as many numbers as a pass writes. Without a GPU the
interpreter does it on a few numbers: that shows that the script runs, and its times say nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is loaded

import nonlin as nl
from nonlin.expr.codegen import compile_kernel
from nonlin.native import triton_activation
from nonlin.native.program import Function, function

NAMES = ("relu", "silu", "gelu", "mish", "tanh", "elu", "swish", "softplus", "hard_swish", "sin", "selu", "erf",
         "gelu_tanh", "sigmoid", "isru", "prelu")  # fmt: skip
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
Job = Callable[[], object]


def one_by_one(functions: list[Function], x: torch.Tensor, gradient: torch.Tensor, values: torch.Tensor) -> Job:
    """Value, slope and sums by torch's operators, as a cohort makes them without Triton."""
    kernels = [compile_kernel((one.expr, *one.partial_expressions), one.parameters) for one in functions]

    def job() -> list[tuple[torch.Tensor, ...]]:
        found = []
        for kernel, one, row, g, own in zip(kernels, functions, x, gradient, values, strict=True):
            value, slope, *others = kernel(row, *own[: len(one.parameters), 0])
            found.append((value, g * slope, *((g * other).sum() for other in others)))
        return found

    return job


def at_once(functions: list[Function], x: torch.Tensor, gradient: torch.Tensor, values: torch.Tensor) -> Job:
    launch = triton_activation.Stacked(functions, x.device)
    return lambda: (launch.forward(x, values, 1), *launch.backward(gradient, x, values, 1))


def milliseconds(job: Job, cuda: bool) -> float:
    if not cuda:
        job()
        return float("nan")
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    job()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def largest_error(functions: list[Function], x: torch.Tensor, gradient: torch.Tensor, values: torch.Tensor) -> float:
    """Of value and gradient by x, relative to a number, or to 1 where it is smaller."""
    y, by_x, _ = at_once(functions, x, gradient, values)()
    wide = one_by_one(functions, x.double(), gradient.double(), values.double())()
    worst = 0.0
    for got_y, got_x, (want_y, want_x, *_) in zip(y, by_x, wide, strict=True):
        for got, want in ((got_y, want_y), (got_x, want_x)):
            worst = max(worst, float(((got.double() - want).abs() / want.abs().clamp(min=1.0)).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--children", type=int, default=16, help=f"at most {len(NAMES)}")
    parser.add_argument("--elements", type=int, nargs="+", default=[4096, 65536, 1048576], help="of one child")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    args = parser.parse_args()
    cuda, names = torch.cuda.is_available(), NAMES[: args.children]
    device = torch.device("cuda" if cuda else "cpu")
    if why := triton_activation.reason():
        raise SystemExit(why)
    machine = torch.cuda.get_device_name() if cuda else "no GPU: Triton's interpreter, times mean nothing"
    print(f"{machine}; torch {torch.__version__}, {args.dtype}, {len(names)} children, {args.rounds} rounds\n")
    print("elements  kernel ms  torch ms  ratio  copy ms  largest error")
    acts = [nl.activation(name) for name in names]
    functions = [function(act.expr, tuple(act.parameters)) for act in acts]
    values = torch.ones(len(acts), max(len(act.parameters) for act in acts), 1, device=device)
    for row, act in zip(values, acts, strict=True):
        row[: len(act.parameters), 0] = torch.tensor(list(act.parameters.values()), device=device)
    for elements in args.elements if cuda else [257]:
        x, gradient = (torch.randn(len(acts), elements, device=device).to(DTYPES[args.dtype]) for _ in range(2))
        error = largest_error(functions, x, gradient, values)  # compiles, too
        jobs = [at_once(functions, x, gradient, values), one_by_one(functions, x, gradient, values),
                lambda x=x: (x.clone(), x.clone())]  # fmt: skip
        for job in jobs:
            job()
        rounds = [[milliseconds(job, cuda) for job in jobs] for _ in range(args.rounds if cuda else 1)]
        kernel, plain, copy = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(row[1] / row[0] for row in rounds)
        print(f"{elements:8,}  {kernel:9.4f}  {plain:8.4f}  {ratio:5.2f}  {copy:7.4f}  {error:13.1e}")


if __name__ == "__main__":
    main()
