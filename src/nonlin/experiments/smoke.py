"""A smoke run: the way of a whole experiment on tiny data in the true formats, one step for each network.

It shows that every network can be built, trained, evaluated and stored here, and no more: no figure of it means
anything. The networks are the whole ones at the true size of pictures, but for GPT-2, of which a folder with a small
one is written, so that 124 million weights need not be; and for the base Transformer's vocabulary, which is learned
from the tiny text.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nonlin.experiments.tiny_data import write_for
from nonlin.tasks import Task
from nonlin.tasks.folder import FOLDER

BATCH = 2
WORDS = "SMOKE: one step on tiny made-up data. No figure below means anything."
REDUCED = {
    "gpt2-": "GPT-2 with 2 blocks of width 32",
    "wmt14-": "the vocabulary of the tiny text",
}


@contextmanager
def tiny_world(tasks: Sequence[str]) -> Iterator[Path]:
    """Inside, the data of these tasks lie in a temporary folder, and NONLIN_DATA names it."""
    before = os.environ.get(FOLDER)
    with tempfile.TemporaryDirectory(prefix="nonlin-smoke-") as folder:
        write_for(Path(folder), list(tasks))
        os.environ[FOLDER] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ[FOLDER]
            else:
                os.environ[FOLDER] = before


def tiny(task: Task) -> Task:
    """The task with one step of two rows, on the tiny data; its name tells. Inside `tiny_world`."""
    budget = replace(
        task.budget, epochs=1, steps=1, batch_size=BATCH, evaluation_batch=BATCH, accumulate=1,
        warmup=min(task.budget.warmup, 1), device="cpu", precision="float32",
    )  # fmt: skip
    data = task.data() if callable(task.data) else task.data
    return replace(task, name=f"{task.name}:smoke", data=data, budget=budget)


def reductions(tasks: Sequence[str]) -> list[str]:
    """What of the networks is smaller than in a real run, in words."""
    return [words for begin, words in REDUCED.items() if any(name.startswith(begin) for name in tasks)]
