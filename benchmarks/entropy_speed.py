"""What an entropy costs: H of every catalogue function, of a batch of outputs and under a density of samples.

    python benchmarks/entropy_speed.py [--samples 1000000] [--repeats 5] [--limit 50] [--density]

The first path evaluates the function at all samples and sorts the outputs; the second integrates over
`nonlin.density(samples)`, a kernel estimate made once. Its pieces of a function are remembered, so that every
repeat begins with an empty memory. One thread; the time is the processor's, so that other work on the machine
distorts it little. The machine-independent figure is the ratio to one torch.sort of as many floats.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import nonlin as nl
from nonlin.entropy.pushforward import _pushforward
from nonlin.run.provenance import provenance


def seconds(job: Callable[[], object], repeats: int) -> float:
    """Median processor seconds; the first call prepares and is not counted."""
    times = []
    for number in range(repeats + 1):
        _pushforward.cache_clear()
        begin = time.process_time()
        job()
        if number:
            times.append(time.process_time() - begin)
    return statistics.median(times)


def report(title: str, times: dict[str, float], limit: float, sort: float) -> None:
    slow = sorted(times, key=times.__getitem__, reverse=True)
    over = sum(1e3 * value > limit for value in times.values())
    middle = statistics.median(times.values())
    print(f"\n{title}: median {1e3 * middle:.1f} ms ({middle / sort:.2f} sorts), {over} of {len(times)} take more "
          f"than {limit:g} ms")  # fmt: skip
    for name in slow[:10]:
        print(f"  {name:24s} {1e3 * times[name]:8.1f} ms {times[name] / sort:8.2f} sorts")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--samples", type=int, default=1_000_000)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--density", action="store_true", help="also under the density; minutes")
    options.add_argument("--limit", type=float, default=50.0, help="milliseconds")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    samples = torch.randn(arguments.samples, generator=torch.Generator().manual_seed(0))
    sort = seconds(lambda: torch.sort(samples), max(arguments.repeats, 5))
    made = seconds(lambda: nl.density(samples), arguments.repeats)
    density = nl.density(samples)
    machine = provenance()
    print(
        f"{arguments.samples:,} float32 samples of N(0, 1), one thread; {machine['processor']}, torch "
        f"{machine['torch']}, nonlin {machine['commit']}; torch.sort {1e3 * sort:.1f} ms, nonlin.density(samples) "
        f"{1e3 * made:.1f} ms"
    )
    names = nl.zoo.names()
    report("H(f, samples)", {n: seconds(lambda n=n: nl.entropy.H(n, samples), arguments.repeats) for n in names},
           arguments.limit, sort)  # fmt: skip
    if not arguments.density:
        return
    report("H(f, density(samples))", {n: seconds(lambda n=n: nl.entropy.H(n, density), arguments.repeats)
                                      for n in names}, arguments.limit, sort)  # fmt: skip


if __name__ == "__main__":
    main()
