"""The report: self-contained, complete, escaped, accessible."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from small import TASK

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.report.plot import curve, shape_svg
from nonlin.run import Store, Trial
from nonlin.run.ranking import Ranking


@pytest.fixture(scope="module")
def study():
    return nl.search(TASK, budget=30, seed=1)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    path = study.report(tmp_path_factory.mktemp("report") / "a.html")
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    VOID = frozenset({"meta", "link", "br", "img", "input", "path", "use"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.count, self.links = [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.count[tag] = self.count.get(tag, 0) + 1
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[key] for key in ("href", "src", "xlink:href") if key in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_well_formed_and_self_contained(page):
    tags = Tags(page)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert all(link.startswith("#") for link in tags.links)
    assert all(link[1:] in tags.ids for link in tags.links)
    assert not re.search(r"(src|href)=\"https?:|@import|url\(http", page)


def test_complete(page, study):
    full = [trial for trial in study.trials() if trial.status == "ok"]
    assert page.count('role="img"') == min(20, len(full)) + 2
    assert page.count("aria-label=") >= page.count('role="img"')
    for trial in study.top(5):
        assert trial.formula.replace("<", "&lt;").replace(">", "&gt;") in page
    for word in ("baseline", "null", "4,034", study.provenance["torch"], "test data were not used"):
        assert word in page
    data = json.loads(re.search(r'id="nonlin-data">(.*?)</script>', page, re.DOTALL).group(1))
    assert len(data["trials"]) == len(study.trials())


def test_nothing_of_a_formula_can_break_out(tmp_path):
    study = nl.search(dataclasses.replace(TASK, name="</script><b>x"), budget=1)
    page = study.report(tmp_path / "a.html").read_text(encoding="utf-8")
    assert "</script><b>" not in page
    assert Tags(page).open == []


def test_nothing_to_report_yet(tmp_path):
    store = Store(tmp_path / "a.db")
    config = nl.search(TASK, budget=1).config.as_dict()
    study = nl.Study(store, store.add_study(config, {}))
    with pytest.raises(NonlinError, match="nothing to report"):
        study.report(tmp_path / "a.html")


def test_all_diverged(tmp_path):
    store = Store(tmp_path / "a.db")
    study = nl.Study(store, store.add_study(nl.search(TASK, budget=1).config.as_dict(), {}))
    for number in range(3):
        store.add_trial(study.id, Trial(number, "candidate", "sqrt(x)", "sqrt(x)", str(number), {}, {}, 0, "diverged"))
    page = study.report(tmp_path / "a.html").read_text(encoding="utf-8")
    assert "No child was trained to the end" in page


def test_pictures_of_explosive_functions_keep_their_frame():
    for formula in ("exp(x**2)", "1/x", "sqrt(x)", "1", "exp(exp(exp(x)))"):
        picture = shape_svg(nl.activation(formula), formula)
        assert picture.startswith("<svg")
        assert "nan" not in picture


def test_curve():
    x, y, slope = curve(nl.activation("swish", beta=2.0), -1, 1)
    assert x.shape == y.shape == slope.shape
    assert np.allclose(np.gradient(y, x)[1:-1], slope[1:-1], atol=1e-3)


def trial(number, score, role="candidate", status="ok"):
    return Trial(number, role, f"f{number}", "x", str(number), {}, {}, 0, status, score, 0.1, 4)


def test_ties():
    """Within 1.96·sqrt(2·p(1-p)/n) of the best of n = 40 rows is a tie; the verdict names the nulls among them."""
    study = nl.search(TASK, budget=1)
    ranking = Ranking(study)
    ranking.trials = [trial(0, 0.9), trial(1, 0.8, "null"), trial(2, 0.7, "baseline"), trial(3, 0.9, status="stopped")]
    ranking.rows = list(enumerate(ranking.trials, 1))
    assert study.config.rows["validation"] == 40
    assert ranking.margin == pytest.approx(1.96 * (2 * 0.9 * 0.1 / 40) ** 0.5, rel=1e-4)
    assert [ranking.tied(t) for t in ranking.trials] == [True, True, False, False]
    assert "Baselines among the tied: none. Nulls: f1." in ranking.verdict()
