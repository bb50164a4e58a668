"""What an experiment costs, before it is begun: counted on the networks themselves, without data and without training.

A network is built on torch's "meta" device, where tensors have shapes and no values, and one forward and backward pass
is counted by torch's FlopCounterMode: two operations for a multiplication and addition, in convolutions, matrix
products and attention; activations and normalisation, of which there are far fewer, are left out.

What cannot be counted is assumed, and said in the result: rows of data sets, lengths of sentences, and what share of
a processor's peak a training reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nonlin.errors import NonlinError
from nonlin.experiments.cells import cell_task, missing_extra
from nonlin.experiments.papers import Cell, Experiment, experiment
from nonlin.tasks import Task
from nonlin.tasks.language import gpt2
from nonlin.tasks.language.dpo import Preference, PreferenceModel
from nonlin.tasks.language.preferences import LENGTH
from nonlin.tasks.language.translation import TranslationFiles
from nonlin.tasks.library_models import TimmModel, timm_config
from nonlin.tasks.networks.encoder_decoder import EncoderDecoder
from nonlin.tasks.pictures.cifar import VERSIONS

UTILISATION = 0.4
# NVIDIA's data sheet of the A100: single precision without tensor cores, and bfloat16 or float16 with them
PEAK_TFLOPS = {"float32": 19.5, "bfloat16": 312.0, "float16": 312.0}
PIECES = 28  # of a sentence of WMT14, mean: 25,000 in a batch [Vaswani2017] of our 896 sentences


@dataclass(frozen=True)
class Source:
    """A data set's size: rows of training, validation and test, bytes on the disk, and whether these are estimates."""

    title: str
    train: int
    validation: int
    test: int
    bytes: float
    estimated: bool = False


_GPT2_BYTES = 4.0 * gpt2.PARAMETERS
SOURCES: dict[str, Source] = {
    "cifar10-": Source("CIFAR-10", 45_000, 5_000, 10_000, VERSIONS[10][0].archive.size),
    "cifar100-": Source("CIFAR-100", 45_000, 5_000, 10_000, VERSIONS[100][0].archive.size),
    "imagenet-": Source("ImageNet-1K", 1_229_920, 51_247, 50_000, 150e9, estimated=True),
    "mnist-": Source("MNIST", 48_000, 12_000, 10_000, 70_000 * 785.0),
    "gpt2-dpo-shp": Source("SHP and GPT-2", 350_000, 18_000, 18_000, 2e9 + _GPT2_BYTES, estimated=True),
    "gpt2-dpo-hh": Source("HH and GPT-2", 157_000, 3_200, 8_500, 0.3e9 + _GPT2_BYTES, estimated=True),
    "wmt14-": Source("WMT14 English-German", 4_500_000, 3_000, 3_003, 1.5e9, estimated=True),
}


@dataclass(frozen=True)
class CellCost:
    """What one cell costs. Of a cell whose network cannot be built here, `problem` says why and the rest is NaN.

    Attributes
    ----------
    parameters : trained numbers, with a function that has none
    forward, step : operations for one example: forward; forward and backward
    examples : passed through in one training
    flops : of one training, with its evaluations
    runs : functions times seeds
    hours : of a GPU, for one training
    """

    task: str
    parameters: float
    forward: float
    step: float
    examples: float
    flops: float
    runs: int
    hours: float
    precision: str
    problem: str = ""

    @property
    def total_hours(self) -> float:
        return self.runs * self.hours


@dataclass(frozen=True)
class Cost:
    """What an experiment costs.

    Attributes
    ----------
    disk : bytes of its data
    assumptions : what the figures rest on, in sentences
    """

    experiment: str
    cells: tuple[CellCost, ...]
    disk: float
    assumptions: tuple[str, ...]

    @property
    def flops(self) -> float:
        """Of all runs, as far as they could be counted."""
        return sum(cell.runs * cell.flops for cell in self.cells if not cell.problem)

    @property
    def hours(self) -> float:
        """Of a GPU, for all runs that could be counted."""
        return sum(cell.total_hours for cell in self.cells if not cell.problem)

    def as_dict(self) -> dict[str, Any]:
        cells = [{**asdict(cell), "total_hours": cell.total_hours} for cell in self.cells]
        return {**asdict(self), "cells": cells, "flops": self.flops, "hours": self.hours}


def cost(
    name: str,
    *,
    tasks: Sequence[str] | None = None,
    seeds: int | None = None,
    gpu_tflops: float | None = None,
    utilisation: float = UTILISATION,
    precision: str | None = None,
) -> Cost:
    """Count what an experiment costs; nothing is read or trained.

    Parameters
    ----------
    name : of the experiment
    tasks, seeds, precision : as for `nonlin.reproduce`
    gpu_tflops : the peak of the GPU in 10¹² operations a second; None for an A100's in each task's precision
    utilisation : what share of the peak is reached

    Raises
    ------
    UnknownNameError : no such experiment, or no such task in it
    """
    if not 0 < utilisation <= 1:
        raise NonlinError(f"utilisation is a share of the peak, above 0 and at most 1; got {utilisation!r}.")
    if gpu_tflops is not None and not 0 < gpu_tflops < math.inf:
        raise NonlinError(f"gpu_tflops is a GPU's peak in TFLOPS, above 0; got {gpu_tflops!r}.")
    found = experiment(name)
    runs = len(found.functions) * (found.seeds if seeds is None else seeds)
    cells = found.chosen(list(tasks or []))
    costs = tuple(_cell_cost(cell, runs, gpu_tflops, utilisation, precision) for cell in cells)
    sources = {_source(cell.task) for cell in cells}
    shared = _GPT2_BYTES * max(0, sum(source.title.endswith("GPT-2") for source in sources) - 1)
    disk = sum(source.bytes for source in sources) - shared
    return Cost(name, costs, disk, _assumptions(found, cells, costs, gpu_tflops, utilisation))


def _source(task: str) -> Source:
    return next(source for begin, source in SOURCES.items() if task.startswith(begin))


def _cell_cost(cell: Cell, runs: int, peak: float | None, share: float, precision: str | None) -> CellCost:
    task, nan = cell_task(cell, precision), math.nan
    kind = task.budget.precision
    try:
        if isinstance(task.build, TimmModel | PreferenceModel) and (problem := missing_extra(task)):
            raise problem
        parameters, forward, step = count(task)
    except NonlinError as error:  # a row without figures, not the end of the table
        return CellCost(cell.name, nan, nan, nan, nan, nan, runs, nan, kind, str(error))
    source, budget = _source(cell.task), task.budget
    of_epoch = -(-source.train // budget.batch_size)  # steps, the last with what is left
    steps = budget.epochs * of_epoch if budget.steps is None else min(budget.steps, budget.epochs * of_epoch)
    whole, rest = divmod(steps, of_epoch)
    examples = float(whole * source.train + rest * budget.batch_size)
    evaluated = -(-steps // of_epoch) * source.validation + source.test
    flops = examples * step + evaluated * forward
    hours = flops / (share * 1e12 * (peak or PEAK_TFLOPS[kind])) / 3600
    return CellCost(cell.name, parameters, forward, step, examples, flops, runs, hours, kind)


@lru_cache(maxsize=64)
def count(task: Task) -> tuple[float, float, float]:
    """Parameters, operations of a forward pass, and of forward and backward, for one example of a task."""
    with torch.device("meta"):
        model, x = _network(task), _example(task)
    model.train()
    counter = FlopCounterMode(display=False)
    with counter:
        output = model(x)
        forward = counter.get_total_flops()
        output.sum().backward()
    # Never more than twice the forward pass: torch counts convolutions in groups going backward as if there were one.
    step = min(counter.get_total_flops(), 3 * forward)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return float(parameters), forward / len(x), step / len(x)


def _relu(channels: int | None = None, dim: int = 1) -> nn.Module:
    return nn.ReLU()


def _network(task: Task) -> nn.Module:
    """The task's network; of those whose files may not be here, the one that would be read."""
    if isinstance(task.data, TranslationFiles):
        return _Sentences(EncoderDecoder(_relu, task.data.pieces, dropout=0.0))
    if isinstance(task.build, PreferenceModel):
        import transformers

        return _Pairs(Preference(gpt2.from_config(transformers.GPT2Config(), _relu)))
    return task.build(_relu)


def _example(task: Task) -> Tensor:
    """Two examples, so that BatchNorm has something to do."""
    if isinstance(task.data, TranslationFiles):
        return torch.zeros(2, 2, PIECES, dtype=torch.long)
    if isinstance(task.build, PreferenceModel):
        return torch.zeros(2, 2, LENGTH, dtype=torch.long)
    if isinstance(task.build, TimmModel):
        side = timm_config(task.build.name).input_size[1]
        return torch.zeros(2, 3, side, side)
    if task.name.startswith("mnist-"):
        return torch.zeros(2, 1, 28, 28)
    side = 224 if task.name.startswith("imagenet-") else 32
    return torch.zeros(2, 3, side, side)


class _Sentences(nn.Module):
    """The Transformer without its search for the longest sentence of a batch, which needs values."""

    def __init__(self, model: EncoderDecoder):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        memory = self.model._embed(x[:, 0])
        mask = (x[:, 0] == 0)[:, None, None]
        for layer in self.model.encoder:
            memory = layer(memory, mask)
        return self.model.decode(x[:, 1], memory, mask)


class _Pairs(nn.Module):
    """DPO's two models on both answers, with the output layer at every position."""

    def __init__(self, model: Preference):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)
        with torch.no_grad():
            before = self._scores(self.model.reference, tokens)
        return (self._scores(self.model.policy, tokens) - before).reshape(len(x), 2, -1)

    def _scores(self, model: Any, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = torch.zeros(len(tokens), 1, length, length, device=tokens.device)  # given, it need not be worked out
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        return F.linear(hidden, model.wte.weight).mean((1, 2))


def _assumptions(
    found: Experiment, cells: Sequence[Cell], costs: Sequence[CellCost], peak: float | None, share: float
) -> tuple[str, ...]:
    kinds = sorted({cost.precision for cost in costs})
    said = ", ".join(f"{PEAK_TFLOPS[kind]:g} TFLOPS in {kind}" for kind in kinds)
    gpu = f"{peak:g} TFLOPS, as given" if peak else f"an A100's peak, {said} (its data sheet)"
    lines = [
        f"GPU hours assume {share:.0%} of {gpu}. Small networks and small batches reach less: for them it is a lower "
        "bound.",
        "Operations are those of convolutions, matrix products and attention, two for a multiplication and addition.",
    ]
    guessed = sorted({source.title for cell in cells if (source := _source(cell.task)).estimated})
    if guessed:
        lines.append(f"Rows (but ImageNet's) and bytes on the disk are estimates for {', '.join(guessed)}.")
    if any(cell.task.startswith("gpt2-") for cell in cells):
        lines.append(f"Every answer counts with its prompt as {LENGTH} tokens, the most there may be: an upper bound.")
    if any(cell.task.startswith("wmt14-") for cell in cells):
        lines.append(f"A sentence counts as {PIECES} pieces; the search for translations at the end is left out.")
    if any(cost.problem for cost in costs):
        lines.append("Networks that could not be built here are in no total.")
    return tuple(lines)
