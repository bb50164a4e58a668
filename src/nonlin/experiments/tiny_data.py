"""Tiny data sets in their true file formats, for smoke runs: random pictures, and a few made-up sentences.

Each writer fills the folder in which a task looks for its data, as `nonlin.tasks` describes it. What is in them is
the same in every run.
"""

from __future__ import annotations

import gzip
import json
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nonlin.tasks.pictures.cifar import VERSIONS
from nonlin.tasks.pictures.idx import write_idx

QUESTIONS = ("Is water wet?", "How tall is a tree?", "Where do birds sleep?", "What is a lemma?")
ANSWERS = ("Mostly.", "It depends on what you mean.", "On a branch, as a rule.", "A small theorem.", "Nobody knows.")
WORDS = {"the": "der", "moon": "Mond", "and": "und", "sun": "Tag", "shine": "scheinen", "not": "nicht"}


def write_cifar(folder: Path, classes: int) -> None:
    """The authors' python version: pickled batches, two images in each of five (CIFAR-10), or ten (CIFAR-100)."""
    version = VERSIONS[classes][0]
    place = folder / f"cifar{classes}" / version.folder
    place.mkdir(parents=True)
    draw = np.random.default_rng(0)
    key = b"labels" if classes == 10 else b"fine_labels"
    for name in (*version.train, *version.test):
        rows = 10 if name == "train" else 2
        labels = [*draw.integers(0, classes, rows - 1).tolist(), classes - 1]
        batch = {b"data": draw.integers(0, 256, (rows, 3 * 32 * 32), dtype=np.uint8), key: labels}
        (place / name).write_bytes(pickle.dumps(batch, protocol=2))


def write_mnist(folder: Path) -> None:
    """Four IDX files, ten images for training and two for test."""
    place = folder / "mnist"
    place.mkdir()
    draw = np.random.default_rng(0)
    for part, rows in (("train", 10), ("t10k", 2)):
        write_idx(place / f"{part}-images-idx3-ubyte", draw.integers(0, 256, (rows, 28, 28), dtype=np.uint8))
        write_idx(place / f"{part}-labels-idx1-ubyte", draw.integers(0, 10, rows).astype(np.uint8))


def write_imagenet(folder: Path) -> None:
    """A folder of JPEG pictures for each of two classes, two for training and one for validation."""
    from PIL import Image

    draw = np.random.default_rng(0)
    for part, count in (("train", 2), ("val", 1)):
        for name in ("n01440764", "n01443537"):
            place = folder / "imagenet" / part / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{name}_{number}.JPEG", "JPEG")


def write_gpt2(folder: Path) -> None:
    """A GPT-2 of two blocks of width 32 with random weights, and a byte-level tokenizer, as transformers saves them."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel

    place = folder / "gpt2"
    place.mkdir()
    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(
        [*QUESTIONS, *ANSWERS], vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False
    )
    pieces.save_model(str(place))
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(vocab_size=pieces.get_vocab_size(), n_positions=512, n_embd=32, n_layer=2, n_head=2, **ends)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(place)


def write_shp(folder: Path) -> None:
    """A part of Reddit as JSON lines, with the files train, validation and test."""
    place = folder / "shp" / "askscience"
    place.mkdir(parents=True)
    for split, count in (("train", 8), ("validation", 2), ("test", 2)):
        rows = [
            {"history": QUESTIONS[n % 4], "human_ref_A": ANSWERS[n % 5], "human_ref_B": ANSWERS[(n + 1) % 5],
             "labels": n % 2}
            for n in range(count)
        ]  # fmt: skip
        (place / f"{split}.json").write_text(_lines(rows), encoding="utf-8")


def write_hh(folder: Path) -> None:
    """Gzipped JSON lines of dialogues that differ in the last answer."""
    place = folder / "hh-rlhf" / "helpful-base"
    place.mkdir(parents=True)
    for split, count in (("train", 10), ("test", 2)):
        rows = []
        for n in range(count):
            prompt = f"\n\nHuman: {QUESTIONS[n % 4]}\n\nAssistant:"
            rows.append({"chosen": f"{prompt} {ANSWERS[n % 5]}", "rejected": f"{prompt} {ANSWERS[(n + 2) % 5]}"})
        (place / f"{split}.jsonl.gz").write_bytes(gzip.compress(_lines(rows).encode(), mtime=0))


def write_wmt14(folder: Path) -> None:
    """Lines of text in two languages, line by line translations of each other."""
    place = folder / "wmt14"
    place.mkdir()
    for seed, (name, count) in enumerate((("train", 12), ("newstest2013", 2), ("newstest2014", 2))):
        english, german = zip(*_sentences(count, seed), strict=True)
        (place / f"{name}.en").write_text("\n".join(english) + "\n", encoding="utf-8")
        (place / f"{name}.de").write_text("\n".join(german) + "\n", encoding="utf-8")


def _sentences(count: int, seed: int) -> Iterator[tuple[str, str]]:
    draw = random.Random(seed)
    for _ in range(count):
        words = draw.choices(list(WORDS), k=draw.randint(2, 5))
        yield " ".join(words), " ".join(WORDS[word] for word in words)


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


# by the beginning of a task's name: what must be written for it
WRITERS: tuple[tuple[str, tuple[Callable[[Path], None], ...]], ...] = (
    ("cifar10-", (lambda folder: write_cifar(folder, 10),)),
    ("cifar100-", (lambda folder: write_cifar(folder, 100),)),
    ("imagenet-", (write_imagenet,)),
    ("gpt2-dpo-shp", (write_gpt2, write_shp)),
    ("gpt2-dpo-hh", (write_gpt2, write_hh)),
    ("wmt14-", (write_wmt14,)),
    ("mnist-", (write_mnist,)),
)


def write_for(folder: Path, tasks: list[str]) -> None:
    """What these tasks read, into a folder that holds nothing yet."""
    done: set[Callable[[Path], None]] = set()
    for name in tasks:
        for writer in next(writers for begin, writers in WRITERS if name.startswith(begin)):
            if writer not in done:
                done.add(writer)
                writer(folder)
