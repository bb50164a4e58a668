"""Byte-pair encoding, learned on the training text of both languages together [Sennrich2016].

Pieces are made of bytes, so that any text can be written and none is lost.

References
----------
[Sennrich2016] R. Sennrich, B. Haddow, A. Birch, "Neural machine translation of rare words with subword units", 2016
    (arXiv:1508.07909)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nonlin.errors import MissingExtraError

EMPTY, BEGIN, END = 0, 1, 2  # filling behind a sentence, its beginning, its end


def learn(texts: Iterable[str], size: int) -> Any:
    """A tokenizer with at most `size` pieces."""
    library = _tokenizers()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<empty>", "<begin>", "<end>"],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def read(text: str) -> Any:
    """The tokenizer that `tokenizer.to_str()` wrote."""
    return _tokenizers().Tokenizer.from_str(text)


def encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Numbers of each text's pieces."""
    return [found.ids for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def decode(tokenizer: Any, numbers: Iterable[Iterable[int]]) -> list[str]:
    """The texts of numbers, as far as the first end of a sentence."""
    cut = []
    for sentence in numbers:
        kept: list[int] = []
        for number in sentence:
            if number == END:
                break
            if number > END:
                kept.append(int(number))
        cut.append(kept)
    return tokenizer.decode_batch(cut)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise MissingExtraError("tokenizers", "hf", "Byte-pair encoding") from None
    return tokenizers
