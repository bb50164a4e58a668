"""Pairs of answers of which people preferred one: SHP and HH, in the forms in which their authors give them.

Prompts are written as HH writes them, as turns of "Human:" and "Assistant:". All lengths, and which of SHP's pairs
are taken, are our choice; nothing of that is published for the comparison of GELU with CRReLU.

References
----------
[Ethayarajh2022] K. Ethayarajh, Y. Choi, S. Swayamdipta, "Understanding dataset difficulty with V-usable
    information", 2022 (arXiv:2110.08420), of which SHP (huggingface.co/datasets/stanfordnlp/SHP) is the data set
[Bai2022] Y. Bai et al., "Training a helpful and harmless assistant with reinforcement learning from human
    feedback", 2022 (arXiv:2204.05862): HH (huggingface.co/datasets/Anthropic/hh-rlhf)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nonlin.errors import TaskError
from nonlin.tasks.data import Data, Part
from nonlin.tasks.folder import FOLDER, data_folder
from nonlin.tasks.language import gpt2
from nonlin.tasks.language.prepared import prepared
from nonlin.tasks.language.records import files_of, records, text_of

PROMPT, LENGTH = 256, 512  # tokens at most: of a prompt, of which the end is kept, and of prompt and answer together
HELD_OUT = 0.02  # of training pairs, the last ones, for validation where the data set has no such part
_ANSWER = "\n\nAssistant:"


@dataclass(frozen=True)
class Pair:
    """A prompt, two answers, and which of them was preferred: 0 or 1."""

    prompt: str
    answers: tuple[str, str]
    preferred: int


def shp_pairs(path: Path) -> Iterator[Pair]:
    """SHP: a Reddit post and two comments; `labels` is 1 where comment A was preferred. All pairs are taken."""
    for row in records(path):
        label = row.get("labels")
        if label not in (0, 1):
            raise TaskError(f"{path} has a row with labels={label!r}, where SHP has 1 (A is preferred) or 0.")
        prompt = f"\n\nHuman: {text_of(row, 'history', path)}{_ANSWER}"
        answers = tuple(f" {text_of(row, name, path)}" for name in ("human_ref_A", "human_ref_B"))
        yield Pair(prompt, answers, 1 - label)  # type: ignore[arg-type]


def hh_pairs(path: Path) -> Iterator[Pair]:
    """HH: two dialogues that differ in the assistant's last turn. Which answer stands first alternates.

    The transcripts of red teams, which lie beside it and hold no pairs, and dialogues that differ earlier are left out.
    """
    for number, row in enumerate(records(path)):
        if "chosen" not in row and "transcript" in row:
            return
        chosen, rejected = (text_of(row, name, path) for name in ("chosen", "rejected"))
        end = chosen.rfind(_ANSWER) + len(_ANSWER)
        if end < len(_ANSWER) or not rejected.startswith(chosen[:end]):
            continue
        answers = chosen[end:], rejected[end:]
        yield Pair(chosen[:end], answers if number % 2 == 0 else answers[::-1], number % 2)


@dataclass(frozen=True)
class PreferenceFiles:
    """A task's data; call it to read them.

    Attributes
    ----------
    title, folder : the data set's name, and its folder inside `data_folder()`
    source : its name at Hugging Face
    task : the task that it belongs to, for messages
    pairs : reads a file of it
    """

    title: str
    folder: str
    source: str
    task: str
    pairs: Callable[[Path], Iterator[Pair]]

    @property
    def path(self) -> Path:
        return data_folder() / self.folder

    @property
    def there(self) -> bool:
        """Whether files of training and test are, and GPT-2; nothing is read."""
        return not self._missing()

    def __call__(self) -> Data:
        """x of shape (pairs, 2, positions), int32: both answers after their prompt, in the code of `encode`; y which
        of them was preferred.

        Raises
        ------
        TaskError : files that are missing, damaged, or of another data set
        MissingExtraError : no transformers
        """
        if missing := self._missing():
            raise TaskError(
                f"task {self.task} needs {' and '.join(missing)}. Download it once with: nonlin tasks --download "
                f"{self.task}. Or set {FOLDER} to a folder that holds them: {self.folder}/ with the files of "
                f"{self.source} (JSON lines or parquet), {gpt2.NAME}/ with GPT-2 as transformers saves it."
            )
        splits = {split: files_of(self.path, split) for split in ("train", "validation", "test")}
        sources = [*(path for paths in splits.values() for path in paths), *gpt2.tokenizer_files()]
        train, validation, test = prepared(self.folder, sources, (PROMPT, LENGTH), lambda: self._read(splits))
        return Data(train, validation, test)

    def download(self, watcher: Callable[[int], None] | None = None) -> Path:
        """Get what is missing from Hugging Face, as far as it is not there."""
        if not (files_of(self.path, "train") and files_of(self.path, "test")):
            gpt2.snapshot(self.source, "dataset", self.path, ["*.json", "*.jsonl", "*.jsonl.gz", "*.parquet"])
        if not gpt2.there():
            gpt2.download()
        return self.path

    def _missing(self) -> list[str]:
        missing = []
        if not (files_of(self.path, "train") and files_of(self.path, "test")):
            missing.append(f"{self.title}, which is not in {self.path}")
        if not gpt2.there():
            missing.append(f"GPT-2, which is not in {gpt2.folder()}")
        return missing

    def _read(self, splits: dict[str, list[Path]]) -> list[Part]:
        tokenizer = gpt2.tokenizer()
        parts = {split: [pair for path in paths for pair in self.pairs(path)] for split, paths in splits.items()}
        for split in ("train", "test"):
            if not parts[split]:
                raise TaskError(f"the {split} files in {self.path} hold no pairs of answers, as {self.title} has them.")
        if not parts["validation"]:
            cut = len(parts["train"]) - max(1, int(HELD_OUT * len(parts["train"])))
            parts["train"], parts["validation"] = parts["train"][:cut], parts["train"][cut:]
        return [encode(parts[split], tokenizer) for split in ("train", "validation", "test")]


def encode(pairs: list[Pair], tokenizer: Any) -> Part:
    """x (pairs, 2, positions) and y (pairs,) of pairs.

    A token of an answer, to be predicted, stands as its number; one of a prompt, which is given, as -1 - its
    number; so does the filling behind an answer, which needs no mask, since no position sees a later one.
    """
    end = tokenizer.eos_token_id
    prompts = _tokens(tokenizer, [pair.prompt for pair in pairs])
    x = np.full((len(pairs), 2, LENGTH), -1 - end, dtype=np.int32)
    for side in (0, 1):
        answers = _tokens(tokenizer, [pair.answers[side] for pair in pairs])
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            given = [-1 - token for token in prompt[-PROMPT:]]
            codes = [*given, *answer, end][:LENGTH]
            x[row, side, : len(codes)] = codes
    longest = int(np.flatnonzero((x >= 0).any(axis=(0, 1)))[-1]) + 1
    return torch.from_numpy(x[:, :, :longest].copy()), torch.tensor([pair.preferred for pair in pairs])


def _tokens(tokenizer: Any, texts: Iterable[str]) -> list[list[int]]:
    return tokenizer(list(texts), verbose=False)["input_ids"]


SHP = PreferenceFiles("SHP", "shp", "stanfordnlp/SHP", "gpt2-dpo-shp", shp_pairs)
HH = PreferenceFiles("HH", "hh-rlhf", "Anthropic/hh-rlhf", "gpt2-dpo-hh", hh_pairs)
