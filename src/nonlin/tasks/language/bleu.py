"""BLEU of a whole text, in per cent [Papineni2002], on words as the NIST script mteval-v13a cuts them [Post2018].

The figures are those of sacrebleu's defaults, to the last digit.

References
----------
[Papineni2002] K. Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002
[Post2018] M. Post, "A call for clarity in reporting BLEU scores", 2018 (arXiv:1804.08771)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

ORDER = 4
_MARKS = re.compile(r"([!-&(-+/:-@\[-`{-~])")  # ASCII punctuation but for ' , - .
_AFTER_WORD = re.compile(r"([^0-9])([.,])")
_BEFORE_WORD = re.compile(r"([.,])([^0-9])")
_DASH = re.compile(r"([0-9])(-)")
_ESCAPES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def words(text: str) -> list[str]:
    """The words and marks of a sentence: a point or comma stands alone unless between digits."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for escaped, character in _ESCAPES:
        text = text.replace(escaped, character)
    text = _MARKS.sub(r" \1 ", f" {text} ")
    text = _AFTER_WORD.sub(r"\1 \2 ", text)
    text = _BEFORE_WORD.sub(r" \1 \2", text)
    return _DASH.sub(r"\1 \2 ", text).split()


def bleu(translations: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU in per cent of translations against one or more references each.

    The geometric mean of the precisions of 1 to 4 words in a row, times the penalty for a text that is too short.
    A precision of 0 counts as 1/2 of one match, the next as 1/4, and so on.
    """
    right, total, length, wanted = [0] * ORDER, [0] * ORDER, 0, 0
    for translation, known in zip(translations, references, strict=True):
        cut, cuts = words(translation), [words(reference) for reference in known]
        length += len(cut)
        wanted += min((abs(len(one) - len(cut)), len(one)) for one in cuts)[1]  # the nearest; of two the shorter
        for order in range(ORDER):
            matches, count = precision(cut, cuts, order + 1)
            right[order] += matches
            total[order] += count
    if not length or not all(total) or not any(right):
        return 0.0
    logarithms, halves = 0.0, 1.0
    for matches, count in zip(right, total, strict=True):
        if not matches:
            halves *= 2
        logarithms += math.log((matches or 1 / halves) / count)
    penalty = min(0.0, 1 - wanted / length)
    return 100 * math.exp(penalty + logarithms / ORDER)


def precision(translation: Sequence[str], references: Sequence[Sequence[str]], order: int) -> tuple[int, int]:
    """How many runs of `order` words are right, and how many there are.

    A run is right as often as one of the references has it.
    """
    found = _runs(translation, order)
    known: Counter[tuple[str, ...]] = Counter()
    for reference in references:
        known |= _runs(reference, order)
    return sum((found & known).values()), sum(found.values())


def _runs(sentence: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sentence[begin : begin + order]) for begin in range(len(sentence) - order + 1))
