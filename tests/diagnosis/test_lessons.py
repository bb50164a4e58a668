"""The lessons: each phenomenon quantitatively, each conclusion able to fail, the same numbers for one seed."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from statistics import median

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.diagnosis import LESSONS, Finding, diagnose, lesson
from nonlin.diagnosis import lesson_dead as dead_lesson
from nonlin.diagnosis import lesson_exploding as exploding_lesson
from nonlin.diagnosis import lesson_selu as selu_lesson
from nonlin.diagnosis import lesson_vanishing as vanishing_lesson
from nonlin.diagnosis.deep import deep_network, digits, trained
from nonlin.diagnosis.lesson_exploding import per_layer
from nonlin.diagnosis.lesson_vanishing import relative
from nonlin.diagnosis.tables import Table, percent, show
from nonlin.errors import DiagnosisError, NonlinError, UnknownNameError
from nonlin.tasks import Budget


@pytest.fixture(scope="module")
def found():
    """Every lesson once, from one seed and with fewer epochs than the user gets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vanishing_lesson, "EPOCHS", 10)
        patch.setattr(exploding_lesson, "EPOCHS", 10)
        patch.setattr(dead_lesson, "FAST", replace(dead_lesson.FAST, epochs=8))
        patch.setattr(dead_lesson, "SLOW", replace(dead_lesson.SLOW, epochs=8))
        patch.setattr(selu_lesson, "TRAINED", replace(selu_lesson.TRAINED, epochs=2))
        return {name: lesson(name, repeats=1) for name in LESSONS}


def column(table: Table, name: str) -> list:
    place = table.columns.index(name)
    return [row[place] for row in table.rows]


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_shows_its_phenomenon(found, name, tmp_path):
    result = found[name]
    assert [finding for finding in result.findings if not finding.holds] == []
    text = str(result)
    assert text.startswith(result.title)
    assert text.count("\nshown: ") + text.startswith("shown: ") == len(result.findings)
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["findings"][0]["holds"] is True
    assert result.plot(tmp_path / "a.svg").read_text().count('<g id="axes_') >= len(result.panels)


def test_sigmoid_gradients_stay_under_the_proven_bound(found):
    table = found["vanishing"].tables[0]
    bounds, sigmoid, relu = (column(table, name) for name in ("bound 0.25^n", "sigmoid", "relu"))
    assert bounds[0] == 0.25**11
    for bound, measured in zip(bounds, sigmoid, strict=True):
        assert measured <= bound * (1 + 1e-5)
    assert sigmoid[0] > bounds[0] / 100  # and close under it
    assert min(relu) > 0.3


@pytest.mark.parametrize("seed", [1, 2])
def test_the_bound_holds_for_other_seeds_and_breaks_for_larger_weights(seed):
    x, y = digits()
    for gain, inside in ((1.0, True), (8.0, False)):
        network = deep_network("sigmoid", 6, seed, "orthogonal", gain, centred=gain > 1)
        ratios = relative(diagnose(network, (x[:128], y[:128])))
        factors = [small / large for small, large in pairwise(ratios)]
        assert (max(factors) <= 0.25 * (1 + 1e-5)) is inside


def test_gradients_explode_and_clipping_rescues(found):
    growth, training = found["exploding"].tables
    he, large = (column(growth, name)[:8] for name in ("relu, He", "relu, 2×He"))
    assert per_layer(large) == pytest.approx(2 * per_layer(he), rel=1e-3)  # exactly 2: ReLU is homogeneous
    diverged = dict(zip(column(training, "training"), column(training, "diverged"), strict=True))
    assert list(diverged.values()) == ["1 of 1", "0 of 1", "0 of 1", "0 of 1"]
    accuracy = [float(value) for value in column(training, "accuracy")]
    assert accuracy[0] == 0.1
    assert min(accuracy[1:]) > 0.7
    clipped, cosine = column(training, "clipped to"), column(training, "cosine to unclipped")
    assert clipped[1] == pytest.approx(1.0, rel=1e-4)
    assert cosine[1] == pytest.approx(1.0, abs=1e-6)
    assert cosine[2] < 0.9
    assert clipped[2] <= 0.1 * math.sqrt(8 * (64 * 64 + 64) + 650)  # every element within ±0.1


def test_relu_dies_and_others_do_not(found):
    fast, low = found["dead"].tables

    def share(table, name):
        return dict(zip(column(table, "function"), column(table, name), strict=True))

    after, accuracy = share(fast, "dead after"), share(fast, "accuracy")
    assert float(after["relu"].strip("%")) > 25
    assert after["leaky_relu"] == "0%"
    assert float(accuracy["relu"]) > 0.85
    before, after, accuracy = (share(low, name) for name in ("dead before", "dead after", "accuracy"))
    assert before["relu"] == after["relu"]  # the dead do not come back
    assert share(low, "layer 4")["relu"] == "100%"
    assert float(accuracy["relu"]) < 0.2
    assert float(accuracy["elu"]) > 0.85


@pytest.mark.parametrize("seed", [1, 2])
def test_selu_normalises_itself_and_what_breaks_it(seed):
    chosen = {
        "selu": True, "selu, AlphaDropout 0.1": True, "selu, Dropout 0.1": False,
        "selu, He": False, "selu, torch's default": False, "relu, He": False,
        "tanh": False,
    }  # fmt: skip
    for name, inside in chosen.items():
        moments = selu_lesson.moments(selu_lesson.VARIANTS[name], seed)
        assert len(moments.mean) == 50
        near = abs(moments.mean[-1]) <= 0.1 and abs(moments.std[-1] - 1) <= 0.15
        assert near is inside, (name, moments.mean[-1], moments.std[-1])


def test_selus_constants_are_its_fixed_point():
    """Under N(0, 1) mean 0 and variance 1: what the constants are for; and the derivative of gains agrees."""
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    weight = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    y = torch.where(z > 0, z, selu_lesson.ALPHA * torch.expm1(z)) * selu_lesson.SCALE
    assert float((weight * y).sum()) == pytest.approx(0, abs=1e-8)
    assert float((weight * y * y).sum()) == pytest.approx(1, abs=1e-8)
    assert nl.gain("selu") == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_alpha_dropout_is_the_papers(p):
    assert selu_lesson.measured_constants(p) == pytest.approx(selu_lesson.alpha_dropout_constants(1 - p), abs=1e-12)
    assert selu_lesson.alpha_dropout_constants(1 - p)[2] == pytest.approx(-1.7580993408473766, abs=1e-12)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        out = nn.AlphaDropout(p)(torch.randn(400_000, dtype=torch.float64))
    assert (float(out.mean()), float(out.std())) == pytest.approx((0, 1), abs=0.01)


def test_raw_pixels_are_the_digits_own():
    raw = selu_lesson._raw()
    assert torch.allclose(raw, raw.round(), atol=1e-4)
    assert (float(raw.min()), float(raw.max())) == pytest.approx((0, 16), abs=1e-4)


def test_the_same_seed_gives_the_same_numbers_and_leaves_torch_alone(monkeypatch):
    monkeypatch.setattr(exploding_lesson, "EPOCHS", 1)
    random = torch.get_rng_state()
    first, again = lesson("exploding", seed=5, repeats=1), lesson("exploding", seed=5, repeats=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert (again.tables, again.findings) == (first.tables, first.findings)
    assert any(not finding.holds for finding in first.findings)  # one epoch is too little: it says so


def test_a_finding_can_fail():
    assert str(Finding.of(False, "yes", "no: 3")) == "NOT shown: no: 3"
    network = deep_network("tanh", 3, 0)
    outcome = trained(network, Budget(epochs=1, optimizer="sgd", learning_rate=0.01), 0)
    assert outcome.status == "ok"
    assert median([outcome.score]) > 0.1


def test_tables_are_plain_text():
    table = Table("t", ("name", "value"), (("a", 1.23456), ("bb", None), ("c", math.nan)))
    assert str(table) == "t\nname  value\na      1.23\nbb        -\nc         -"
    assert (percent(0.0001), percent(0.05), percent(0.5), percent(None)) == ("<0.1%", "5.0%", "50%", None)
    assert (show(0.0), show(12), show(1e-9)) == ("0", "12", "1e-09")


def test_bad_input():
    with pytest.raises(UnknownNameError, match="Did you mean 'vanishing'"):
        lesson("vanish")
    with pytest.raises(DiagnosisError, match="repeats=0"):
        lesson("selu", repeats=0)
    with pytest.raises(NonlinError, match="must end with"):
        diagnose(nn.Sequential(nn.ReLU()), torch.randn(8, 3)).plot("a.gif")
