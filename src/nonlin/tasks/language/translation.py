"""`wmt14-transformer`: English to German with the base Transformer of [Vaswani2017].

As in the paper: the network, a joint byte-pair vocabulary of 37,000, dropout and label smoothing 0.1, Adam with
betas 0.9 and 0.98, 100,000 steps, the learning rate up for 4,000 of them and then down with their root, beams of 4 with
length penalty 0.6. Ours: batches of 896 sentences, which are about the paper's 25,000 pieces of either language; longer
sentences than 100 pieces are left out of training; Adam's epsilon is torch's; the last weights are measured, not a mean
of several; newstest2013 is the validation part, newstest2014 the test part; BLEU is sacrebleu's, which the paper's is
not.

References
----------
[Vaswani2017] A. Vaswani et al., "Attention is all you need", 2017 (arXiv:1706.03762)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nonlin.errors import TaskError
from nonlin.tasks.budget import Budget
from nonlin.tasks.data import Data, Part
from nonlin.tasks.folder import FOLDER, data_folder
from nonlin.tasks.language import gpt2, subwords
from nonlin.tasks.language.bleu import bleu
from nonlin.tasks.language.prepared import prepared
from nonlin.tasks.language.records import files_of, records
from nonlin.tasks.language.subwords import BEGIN, EMPTY, END
from nonlin.tasks.networks.encoder_decoder import EncoderDecoder, translate
from nonlin.tasks.task import ActivationFactory, Task

IGNORED = -100  # a target that does not count, see `nonlin.train.score`
LONGEST = 100  # pieces of a sentence in training
_CHUNK = 10_000  # sentences at a time
_NAMES = {"train": ("train",), "validation": ("newstest2013", "validation"), "test": ("newstest2014", "test")}
Sentences = tuple[str, str]  # English, German


def sentence_pairs(folder: Path, split: str) -> Iterator[Sentences]:
    """The pairs of a split: two text files with a sentence on each line, or tables as Hugging Face has them.

    Raises
    ------
    TaskError : files of different length, or tables without translations
    """
    for english, german in _text_files(folder, split):
        yield from _lines(english, german)
    for path in files_of(folder, split):
        for row in records(path):
            pair = row.get("translation")
            if not isinstance(pair, dict) or not all(isinstance(pair.get(name), str) for name in ("en", "de")):
                raise TaskError(f"{path} has a row without {{'translation': {{'en': ..., 'de': ...}}}}, as WMT14 has.")
            yield pair["en"], pair["de"]


def _text_files(folder: Path, split: str) -> list[tuple[Path, Path]]:
    pairs = [(folder / f"{name}.en", folder / f"{name}.de") for name in _NAMES[split]]
    return [pair for pair in pairs if all(path.is_file() for path in pair)][:1]


def _lines(english: Path, german: Path) -> Iterator[Sentences]:
    number = 0
    try:
        with (
            open(english, encoding="utf-8", newline="\n") as first,
            open(german, encoding="utf-8", newline="\n") as second,
        ):
            for one, other in zip(first, second, strict=True):
                number += 1
                yield one.strip(), other.strip()
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise TaskError(f"cannot read {english} or {german} after line {number}: {error}") from None
        raise TaskError(
            f"{english} and {german} have different numbers of lines: one of them ends after line {number}. They must "
            "be translations of each other, line by line."
        ) from None


@dataclass(frozen=True)
class TranslationFiles:
    """The task's data; call it to read them.

    Attributes
    ----------
    pieces : size of the vocabulary
    """

    pieces: int = 37_000
    title: str = "WMT14 English-German"
    folder: str = "wmt14"

    @property
    def path(self) -> Path:
        return data_folder() / self.folder

    @property
    def there(self) -> bool:
        """Whether files of training and test are; nothing is read."""
        return all(self._files(split) for split in ("train", "test"))

    def __call__(self) -> Data:
        """x of shape (pairs, 2, positions), int32: the English sentence, and the German one behind its beginning;
        y (pairs, positions): the German one with its end, filled with -100.

        Raises
        ------
        TaskError : files that are missing, damaged, or do not fit together
        MissingExtraError : no tokenizers, or no pyarrow for parquet
        """
        if not self.there:
            raise TaskError(
                f"task wmt14-transformer needs {self.title}, which is not in {self.path}. Download it once with: "
                f"nonlin tasks --download wmt14-transformer. Or set {FOLDER} to a folder in which {self.folder}/ holds "
                "train, validation and test: as parquet or JSON lines, or as text (train.en and train.de, "
                "newstest2013.en ...)."
            )
        sources = [path for split in _NAMES for path in self._files(split)]
        parts = prepared(self.folder, [*sources], (self.pieces, LONGEST), lambda: self._read())
        return Data(*parts)

    def tokenizer(self) -> Any:
        """The byte-pair encoding of the training text; learned once, and kept."""
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self._files("train")]
        key = hashlib.sha256(repr((files, self.pieces)).encode()).hexdigest()[:16]
        place = data_folder() / "prepared" / f"{self.folder}-pieces-{key}.json"
        if place.is_file():
            return subwords.read(place.read_text(encoding="utf-8"))
        found = subwords.learn((text for pair in sentence_pairs(self.path, "train") for text in pair), self.pieces)
        part = place.with_suffix(".part")
        place.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(found.to_str(), encoding="utf-8")
        part.replace(place)
        return found

    def download(self, watcher: Callable[[int], None] | None = None) -> Path:
        """Get the tables from Hugging Face, unless files are there."""
        if not self.there:
            gpt2.snapshot("wmt/wmt14", "dataset", self.path, ["de-en/*.parquet"])
        return self.path

    def _files(self, split: str) -> list[Path]:
        return [path for pair in _text_files(self.path, split) for path in pair] or files_of(self.path, split)

    def _read(self) -> list[Part]:
        tokenizer = self.tokenizer()
        train = encode(sentence_pairs(self.path, "train"), tokenizer, LONGEST)
        test = encode(sentence_pairs(self.path, "test"), tokenizer)
        validation = encode(sentence_pairs(self.path, "validation"), tokenizer) if self._files("validation") else None
        if train is None or test is None:
            raise TaskError(
                f"{self.path} holds no sentences of at most {LONGEST} pieces for training, or none for test."
            )
        if validation is None:
            cut = len(train[1]) - max(1, len(train[1]) // 50)
            train, validation = (train[0][:cut], train[1][:cut]), (train[0][cut:], train[1][cut:])
        return [train, validation, test]


def encode(pairs: Iterator[Sentences], tokenizer: Any, longest: int | None = None) -> Part | None:
    """x and y of sentences; of at most `longest` pieces with their end, where that is given. None if there are none."""
    chunks: list[tuple[list[list[int]], list[list[int]]]] = []
    while chunk := list(islice(pairs, _CHUNK)):
        english, german = (
            [[*one, END] for one in subwords.encode(tokenizer, side)] for side in zip(*chunk, strict=True)
        )
        kept = [(a, b) for a, b in zip(english, german, strict=True) if not longest or max(len(a), len(b)) <= longest]
        if kept:
            chunks.append(([a for a, _ in kept], [b for _, b in kept]))
    if not chunks:
        return None
    width = max(len(one) for chunk in chunks for side in chunk for one in side)
    x = np.full((sum(len(english) for english, _ in chunks), 2, width), EMPTY, dtype=np.int32)
    y = np.full((len(x), width), IGNORED, dtype=np.int64)
    row = 0
    for english, german in chunks:
        for source, target in zip(english, german, strict=True):
            x[row, 0, : len(source)] = source
            x[row, 1, : len(target)] = [BEGIN, *target[:-1]]
            y[row, : len(target)] = target
            row += 1
    return torch.from_numpy(x), torch.from_numpy(y)


def build_transformer(activation: ActivationFactory) -> nn.Module:
    """The base Transformer, 63.1 million weights with 37,000 pieces (the paper says 65 million)."""
    return EncoderDecoder(activation, FILES.tokenizer().get_vocab_size())


def translations(model: nn.Module, part: Part) -> dict[str, float]:
    """BLEU of a part, by beam search."""
    assert isinstance(model, EncoderDecoder)
    x, y = part
    tokenizer, device = FILES.tokenizer(), next(model.parameters()).device
    model.eval()
    found = [
        sentence
        for sources in x[:, 0].split(_SENTENCES)
        for sentence in subwords.decode(tokenizer, translate(model, sources.to(device), BEGIN, END).tolist())
    ]
    known = subwords.decode(tokenizer, y.tolist())
    return {"bleu": bleu(found, [[one] for one in known])}


FILES = TranslationFiles()
_SENTENCES = 32  # at a time in evaluation

WMT14_TRANSFORMER = Task(
    name="wmt14-transformer",
    build=build_transformer,
    data=FILES,
    budget=Budget(
        epochs=25, steps=100_000, batch_size=896, optimizer="adam", learning_rate=(512 * 4000) ** -0.5,
        betas=(0.9, 0.98), schedule="inverse-sqrt", warmup=4000, label_smoothing=0.1, accumulate=4,
        precision="bfloat16", evaluation_batch=_SENTENCES,
    ),
    remark="base Transformer (encoder and decoder of 6 blocks, width 512) on WMT14 English-German, newstest2014",
    measure=translations,
    parameters=63_082_496,
)  # fmt: skip
