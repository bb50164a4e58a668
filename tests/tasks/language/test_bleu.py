"""BLEU against the worked examples of its paper and of sacrebleu's page, and against sacrebleu itself."""

import random

import pytest

from nonlin.tasks.language.bleu import bleu, precision, words

FIRST = "It is a guide to action which ensures that the military always obeys the commands of the party."
SECOND = "It is to insure the troops forever hearing the activity guidebook that party direct."
KNOWN = (
    "It is a guide to action that ensures that the military will forever heed Party commands.",
    "It is the guiding principle which guarantees the military forces always being under the command of the Party.",
    "It is the practical guide for the army always to heed the directions of the party.",
)


def cut(text):
    return [word for word in words(text.lower()) if word != "."]  # the paper counts words


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [(FIRST, 1, (17, 18)), (SECOND, 1, (8, 14)), (FIRST, 2, (10, 17)), (SECOND, 2, (1, 13))],
)
def test_precisions_of_the_paper(text, order, expected):
    # Papineni et al. 2002, examples 1 and section 2.1
    assert precision(cut(text), [cut(known) for known in KNOWN], order) == expected


def test_a_word_counts_no_oftener_than_in_a_reference():
    # Papineni et al. 2002, example 2
    the = ["the"] * 7
    known = ["The cat is on the mat", "There is a cat on the mat"]
    assert precision(the, [cut(text) for text in known], 1) == (2, 7)


def test_the_example_of_sacrebleu():
    # its page prints BLEU = 48.53 82.4/50.0/45.5/37.5 (BP = 0.943)
    found = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    first = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    second = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    assert round(bleu(found, list(zip(first, second, strict=True))), 2) == 48.53


def test_ends():
    text = ["the quick brown fox jumps over the lazy dog"]
    assert bleu(text, [text]) == pytest.approx(100)
    assert bleu(["quite another one is here"], [text]) == 0
    assert bleu([""], [text]) == 0
    # half the length: all right, and a penalty of exp(1 - 2)
    assert bleu(["the quick brown fox"], [["the quick brown fox jumps over the dog"]]) == pytest.approx(
        100 / 2.718281828
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Er sagte: 3,5 Prozent.", ["Er", "sagte", ":", "3,5", "Prozent", "."]),
        ("1990-95 (U.S.)", ["1990", "-", "95", "(", "U", ".", "S", ".", ")"]),
        ("it's &quot;so&quot; co-operative", ["it's", '"', "so", '"', "co-operative"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_equals_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    generator = random.Random(0)
    pool = [*FIRST.split(), *SECOND.split(), *KNOWN[1].split(), "3.5%", "x-ray", "(so)", "5-6", "'quoted'"]
    for _ in range(30):
        found = [" ".join(generator.choices(pool, k=generator.randint(1, 12))) for _ in range(5)]
        known = [[" ".join(generator.choices(pool, k=generator.randint(1, 12))) for _ in range(5)] for _ in range(2)]
        ours = bleu(found, list(zip(*known, strict=True)))
        assert ours == pytest.approx(sacrebleu.corpus_bleu(found, known).score, abs=1e-9)
