"""`chars-gpt`: a character-level GPT on the documentation text that comes with Python itself.

The text is `pydoc_data.topics` of the running Python, which differs a little between versions; so the
checksum of the data, which every study keeps, tells whether two studies saw the same text. The topics
overlap (one contains whole sections of another), so a paragraph is kept only where it stands first:
otherwise a model could recite validation text that it met in training.

References
----------
[GPT2] A. Radford et al., "Language models are unsupervised multitask learners", 2019
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from nonlin.errors import TaskError
from nonlin.tasks.data import Data, Part
from nonlin.tasks.networks.transformer import WRITERS, Block
from nonlin.tasks.task import ActivationFactory, Budget, Task
from nonlin.tasks.weights import like_gpt2

CONTEXT = 64  # characters that a window shows
WINDOWS = {"train": 4000, "validation": 500, "test": 500}  # the same for every version of Python
LEAST_COUNT = 10  # a character seen less often in training is one of the "rare" ones, which share a code


@dataclass(frozen=True)
class Corpus:
    """Text cut into contiguous parts, and the codes of its characters.

    Attributes
    ----------
    parts : texts of training, validation and test, in this order; no character is in two of them
    vocabulary : the characters with codes 1, 2, … in order of code point; every other one has code 0.
        Chosen by the training part alone.
    digest : checksum of the parts
    """

    parts: tuple[str, str, str]
    vocabulary: str
    digest: str

    @property
    def codes(self) -> int:
        return len(self.vocabulary) + 1

    def encode(self, text: str) -> Tensor:
        """Codes of the characters, int64 of shape (characters,)."""
        code = {character: number for number, character in enumerate(self.vocabulary, start=1)}
        return torch.tensor([code.get(character, 0) for character in text])


@lru_cache(maxsize=1)
def corpus() -> Corpus:
    """The text of `chars-gpt`; TaskError if this Python comes without it."""
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError:
        raise TaskError(
            "this Python has no pydoc_data.topics, the text of chars-gpt; use a full installation."
        ) from None
    return cut(prose(topics[name] for name in sorted(topics)))


def prose(texts: Iterable[str]) -> str:
    """The paragraphs of `texts`, each once and without drawn tables, an empty line between them.

    Paragraphs that differ only in their spaces and line ends count as equal. Tables are mostly dashes and
    spaces: they would reward counting.
    """
    paragraphs: dict[str, str] = {}
    for text in texts:
        for paragraph in text.split("\n\n"):
            lines = [line for line in paragraph.splitlines() if not line.lstrip().startswith(("|", "+-", "+="))]
            if any(line.strip() for line in lines):
                paragraphs.setdefault(" ".join(paragraph.split()), "\n".join(lines))
    return "\n\n".join(paragraphs.values())


def cut(text: str) -> Corpus:
    """Contiguous parts for the windows of training, validation and test."""
    lengths = [count * CONTEXT + 1 for count in WINDOWS.values()]  # the last window needs one target more
    if len(text) < sum(lengths):
        raise TaskError(f"chars-gpt needs {sum(lengths):,} characters of text; this Python's has {len(text):,}.")
    first, second, third = (sum(lengths[:index]) for index in (1, 2, 3))
    parts = text[:first], text[first:second], text[second:third]
    counts = Counter(parts[0])
    vocabulary = "".join(sorted(character for character, count in counts.items() if count >= LEAST_COUNT))
    return Corpus(parts, vocabulary, hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16])


def chars_data() -> Data:
    """x and y of shape (windows, CONTEXT), int64: codes of characters, and of the characters one later."""
    text = corpus()

    def windows(part: str) -> Part:
        codes = text.encode(part)
        return codes[:-1].reshape(-1, CONTEXT), codes[1:].reshape(-1, CONTEXT)

    train, validation, test = (windows(part) for part in text.parts)
    return Data(train, validation, test)


class CharacterGPT(nn.Module):
    """[GPT2] in small: learned positions, pre-LayerNorm blocks with causal attention, a free output layer."""

    def __init__(
        self, activation: ActivationFactory, codes: int, context: int, width: int, heads: int, ratio: int, blocks: int
    ):
        super().__init__()
        self.embed = nn.Embedding(codes, width)
        self.positions = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.Sequential(*(Block(activation, width, heads, ratio, causal=True) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, codes, bias=False)

    def forward(self, characters: Tensor) -> Tensor:
        """characters (batch, positions), int64, at most `context` positions; logits (batch, positions, codes) out."""
        x = self.embed(characters) + self.positions[: characters.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def build_gpt(activation: ActivationFactory) -> nn.Module:
    """Width 64, four heads, two blocks with 256 hidden units each, initialised as [GPT2].

    GPT-2's deviation 0.02 belongs to its width 768. At width 64 it is √12 times that, so that activations
    receive the same scale as there (validation loss 1.75 instead of 1.86 with 0.02 itself).
    """
    width, blocks = 64, 2
    model = CharacterGPT(activation, corpus().codes, CONTEXT, width, heads=4, ratio=4, blocks=blocks)
    std = 0.02 * math.sqrt(768 / width)
    like_gpt2(model, std, residual=WRITERS, blocks=blocks)
    nn.init.normal_(model.positions, std=std / 2)
    return model


# Batches of 16 and 32 and learning rates 0.002 to 0.004 were tried with ReLU and GELU on one seed: 16 learns
# more in the same time (about 16 s a child), 0.003 is best for ReLU and within 0.01 nats of the best for GELU.
CHARS_GPT = Task(
    name="chars-gpt",
    build=build_gpt,
    data=chars_data,
    budget=Budget(epochs=4, batch_size=16, optimizer="adamw", learning_rate=3e-3, weight_decay=0.01, device="cpu"),
    designed_for="gelu",
    remark="character-level GPT, width 64, two blocks, on Python's own documentation text",
)
