"""The report of a search: self-contained, complete, escaped, accessible."""

import dataclasses

import pytest
from report_pages import BROWSER, browse, check_page, csv_of, data_of, text_of
from small import TASK

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.run import Store, Trial
from nonlin.run.ranking import Ranking


@pytest.fixture(scope="module")
def study():
    return nl.search(TASK, budget=30, seed=1)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    path = study.report(tmp_path_factory.mktemp("report") / "a.html")
    return path.read_text(encoding="utf-8")


def test_well_formed_and_self_contained(page):
    check_page(page)


def test_complete(page, study):
    full = [trial for trial in study.trials() if trial.status == "ok"]
    for trial in study.top(5):
        assert trial.formula.replace("<", "&lt;").replace(">", "&gt;") in page
    for word in ("baseline", "null", "4,012", study.provenance["torch"], "test data were not used", "@software{nonlin"):
        assert word in page
    assert page.count('class="picture shape"') == min(20, len(full))
    assert "Validation" in page
    assert "validation accuracy of every candidate" in page


def test_the_data_inside_are_the_trials(page, study):
    data, rows = data_of(page), csv_of(page)
    trials = study.trials()
    assert len(data["trials"]) == len(rows) == len(trials)
    for trial, kept, line in zip(trials, data["trials"], rows, strict=True):
        assert kept["formula"] == line["formula"] == trial.formula
        assert line["status"] == trial.status
        assert kept["score"] == (trial.score if trial.score == trial.score else None)


def test_nothing_of_a_formula_can_break_out(tmp_path):
    study = nl.search(dataclasses.replace(TASK, name="</script><b>x"), budget=1)
    page = study.report(tmp_path / "a.html").read_text(encoding="utf-8")
    assert "</script><b>" not in page
    check_page(page)


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
        store.record(study.id, [Trial(number, "candidate", "sqrt(x)", "sqrt(x)", str(number), {}, {}, 0, "diverged")])
    page = study.report(tmp_path / "a.html").read_text(encoding="utf-8")
    check_page(page)
    assert "No child was trained to the end" in page
    assert "Too few candidates to speak of trends" in text_of(page)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_in_a_browser(page, tmp_path):
    path = tmp_path / "a.html"
    path.write_text(page, encoding="utf-8")
    dom, console = browse(path, tmp_path / "profile")
    assert console == []
    assert 'aria-sort="ascending"><button type="button">rank' in dom


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
