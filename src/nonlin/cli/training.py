"""`nonlin train`: one function on one task, to the end, with checkpoints; on several GPUs by torchrun."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from nonlin.cli.screen import INTERRUPTED, complain, console, print_json
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.tasks import Task
    from nonlin.train import Outcome
    from nonlin.zoo import Activation


def train(
    formula: str = typer.Argument(..., metavar="F", help="A name or a formula."),
    task: str = typer.Option("digits-cnn", help="What to train; see 'nonlin tasks'."),
    seed: int = typer.Option(0, min=0, help="Of initial weights, batches and augmentation."),
    epochs: int = typer.Option(None, help="Instead of the task's own.", min=1),
    steps: int = typer.Option(None, help="End after this many steps of the optimiser.", min=1),
    rate: float = typer.Option(None, help="Learning rate, instead of the task's own."),
    device: str = typer.Option(None, help="auto, cpu, cuda, cuda:1 or mps. Default: what the task says."),
    precision: str = typer.Option(
        None, help="float32, or mixed with bfloat16 or float16. Default: what the task says on CUDA, else float32."
    ),
    accumulate: int = typer.Option(
        None, help="Pass each batch in this many parts: less memory, the same result.", min=1
    ),
    checkpoint: Path = typer.Option(
        None, metavar="DIR", help="Keep the training's state here; the same command on it again continues."
    ),
    every: float = typer.Option(60.0, help="Seconds between two checkpoints.", min=0.0),
    normalise: bool = typer.Option(True, help="Scale initial weights by the function's own gain."),
    per: str = typer.Option("channel", help="Trainable parameters per 'channel' or per 'tensor'."),
    json: bool = typer.Option(False, "--json", help="Print the outcome as JSON, and no progress."),
) -> None:
    """Train one function on one task, and evaluate it once on test data at the end.

    Interrupted at any moment, even by kill -9, the same command with the same --checkpoint goes on to the same
    figures (CPU, float32). Several processes share each batch when torchrun starts them. docs/training.md

    Examples: nonlin train gelu --task digits-cnn --checkpoint runs

      torchrun --nproc-per-node=8 -m nonlin train swish --task cifar10-resnet164 --precision bfloat16
    """
    if per not in ("channel", "tensor"):
        raise NonlinError(f"--per must be 'channel' or 'tensor'; got {per!r}.")
    try:
        _train(formula, task, seed, epochs, steps, rate, device, precision, accumulate, checkpoint, every,
               normalise, per, json)  # fmt: skip
    except NonlinError:
        if os.environ.get("RANK", "0") != "0":  # the first process says it for all
            raise typer.Exit(2) from None
        raise


def _train(
    formula: str, task_name: str, seed: int, epochs: int | None, steps: int | None, rate: float | None,
    device: str | None, precision: str | None, accumulate: int | None, checkpoint: Path | None, every: float,
    normalise: bool, per: str, json: bool,
) -> None:  # fmt: skip
    from nonlin.cli.progress import TrainingProgress
    from nonlin.tasks import task
    from nonlin.train import fit
    from nonlin.train.ranks import joined, ranks
    from nonlin.zoo import activation

    chosen, act = _adapted(task(task_name), epochs, steps, rate), activation(formula)
    with joined(device) as own_device:
        first = ranks().first
        try:
            with TrainingProgress(quiet=json or not first) as progress:
                outcome = fit(
                    chosen,
                    act,
                    seed,
                    normalise=normalise,
                    per=per,  # type: ignore[arg-type]
                    final=True,
                    device=own_device,
                    precision=precision,
                    accumulate=accumulate,
                    checkpoint=checkpoint,
                    every=every,
                    watcher=progress,
                )
        except KeyboardInterrupt:
            kept = f"the last checkpoint is in {checkpoint}; the same command continues from it"
            complain(f"interrupted; {kept if checkpoint else 'nothing was kept. --checkpoint DIR keeps it'}.")
            raise typer.Exit(INTERRUPTED) from None
    if first:
        _show(chosen, act, seed, outcome, json)


def _adapted(task: Task, epochs: int | None, steps: int | None, rate: float | None) -> Task:
    """The task with what was asked for in place of its budget's."""
    from dataclasses import replace

    budget = task.budget
    if epochs is not None:
        budget = replace(budget, epochs=epochs)
    if rate is not None:
        budget = replace(budget, learning_rate=rate)
    if steps is not None:
        needed = -(-steps // -(-len(task.load().train[0]) // budget.batch_size))
        budget = replace(budget, steps=steps, epochs=budget.epochs if epochs else needed)
    return task if budget == task.budget else replace(task, budget=budget)


def _show(task: Task, act: Activation, seed: int, outcome: Outcome, json: bool) -> None:
    if json:
        print_json({"task": task.name, "activation": act.name, "formula": act.formula, "seed": seed,
                    **outcome.as_dict()})  # fmt: skip
    if outcome.status == "failed":
        complain(outcome.error)
        raise typer.Exit(1)
    if json:
        return
    out = console()
    metric = "R²" if task.load().classes is None else "accuracy"
    out.print(f"[bold]{escape(act.name)}[/bold] on {escape(task.name)}, seed {seed}: {outcome.status}", soft_wrap=True)
    if outcome.status == "diverged":
        out.print(f"the loss was no longer finite in epoch {outcome.epochs + 1}; a lower --rate may help")
        return
    out.print(f"  validation  {metric} {outcome.score:.4f}  loss {outcome.loss:.4f}  after {outcome.epochs} epochs")
    if not math.isnan(outcome.test_loss):
        more = "".join(f"  {name} {value:.4f}" for name, value in outcome.measures.items())
        out.print(f"  test        {metric} {outcome.test_score:.4f}  loss {outcome.test_loss:.4f}{more}")
    if outcome.parameters:
        named = ", ".join(f"{name} {value:.4g}" for name, value in outcome.parameters.items())
        out.print(f"  parameters  {named} (means over layers and channels)", soft_wrap=True)
    out.print(f"  time        {outcome.seconds:.0f} s, {outcome.seconds_per_epoch:.2f} s an epoch")
