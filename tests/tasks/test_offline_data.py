"""The offline tasks' data: fixed splits, no overlap, and the text of the character model."""

import platform
import sys

import pytest
import torch
from sklearn.datasets import load_digits

from nonlin.errors import TaskError
from nonlin.tasks import Data, task
from nonlin.tasks.language.text import CONTEXT, LEAST_COUNT, corpus, cut, prose


def parts(name):
    data = task(name).load()
    return data.train, data.validation, data.test


def test_digits_are_those_of_scikit_learn():
    digits = load_digits()
    pixels = (digits.data - digits.data.mean()) / digits.data.std()
    expected = Data.from_arrays(pixels, digits.target, fractions=(0.2, 0.2), seed=0, standardise=False)
    for ours, theirs in zip(parts("digits-mlp"), (expected.train, expected.validation, expected.test), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("name", ["digits-cnn", "digits-vit"])
def test_images_are_the_rows_of_digits_mlp(name):
    for (image, label), (row, same_label) in zip(parts(name), parts("digits-mlp"), strict=True):
        assert image.shape == (len(row), 1, 8, 8)
        assert torch.equal(image.flatten(1), row)
        assert torch.equal(label, same_label)


def test_cancer_split():
    assert [len(x) for x, _ in parts("tabular-cancer")] == [341, 114, 114]
    assert [y[:8].tolist() for _, y in parts("tabular-cancer")] == [
        [1, 1, 1, 0, 1, 0, 1, 0],
        [1, 1, 1, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 0, 1, 0, 1],
    ]
    assert task("tabular-cancer").load().classes == 2
    every = torch.cat([x for x, _ in parts("tabular-cancer")])
    assert len({tuple(row.tolist()) for row in every}) == 569
    x = parts("tabular-cancer")[0][0]
    assert torch.allclose(x.mean(dim=0), torch.zeros(30), atol=1e-5)
    assert torch.allclose(x.std(dim=0, unbiased=False), torch.ones(30), atol=1e-4)


def test_characters_in_windows():
    text = corpus()
    assert [x.shape for x, _ in parts("chars-gpt")] == [(4000, CONTEXT), (500, CONTEXT), (500, CONTEXT)]
    assert task("chars-gpt").load().classes == text.codes
    for (x, y), part in zip(parts("chars-gpt"), text.parts, strict=True):
        assert x.dtype == y.dtype == torch.int64
        assert torch.equal(x.flatten()[1:], y.flatten()[:-1])  # a target is the next window's first character
        assert torch.equal(y.flatten(), text.encode(part[1:]))
    alphabet = "?" + text.vocabulary
    shown = "".join(alphabet[code] for code in parts("chars-gpt")[0][0][0].tolist())
    assert shown == text.parts[0][:CONTEXT]
    assert text.vocabulary == "".join(sorted(set(text.vocabulary)))
    assert set("etaoin shrdlu\n") <= set(text.vocabulary)
    assert text.encode("a\0b").tolist()[1] == 0


def test_little_of_the_validation_text_was_seen_in_training():
    """Topics repeat each other: without removing that, every twelfth window would be known by heart."""
    training, *others = corpus().parts
    for part in others:
        windows = [part[start : start + CONTEXT] for start in range(0, len(part) - CONTEXT, CONTEXT)]
        assert sum(window in training for window in windows) <= 0.01 * len(windows)


@pytest.mark.skipif(platform.python_version() != "3.11.7", reason="the text belongs to the version of Python")
def test_the_text_of_one_version():
    assert corpus().digest == "91021c11bb1a47d9"
    assert corpus().codes == 96


def test_paragraphs_are_kept_once_and_tables_dropped():
    texts = ["One\ntwo\n\n  three", "one\n\nOne two\n\n+---+\n| a |\n+===+\n\nafter\n| b |\n"]
    assert prose(texts) == "One\ntwo\n\n  three\n\none\n\nafter"


def test_rare_characters_share_a_code():
    text = cut("ab" * 200_000)
    assert text.vocabulary == "ab"
    some = cut("c" * (LEAST_COUNT - 1) + "d" * LEAST_COUNT + "ab" * 200_000 + "e" * 99)
    assert some.vocabulary == "abd"
    assert some.encode("cdab").tolist() == [0, 3, 1, 2]
    assert some.digest != text.digest


def test_text_that_is_too_short_or_missing(monkeypatch):
    with pytest.raises(TaskError, match="needs 320,003 characters of text; this Python's has 3"):
        cut("abc")
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    corpus.cache_clear()
    with pytest.raises(TaskError, match="full installation"):
        corpus()
    corpus.cache_clear()
