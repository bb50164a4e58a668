"""The report of a comparison: what it says is what the runs say, and nothing of a user's text breaks out of it."""

import dataclasses
import math
import re
from html import escape

import pytest
from report_pages import BROWSER, browse, check_page, csv_of, data_of, runs_of, text_of
from small import TASK

import nonlin as nl
from nonlin.errors import NonlinError
from nonlin.report import write_comparison
from nonlin.report.html import number
from nonlin.run import Comparison, Store
from nonlin.run.runs import add_comparison, save_run
from nonlin.run.setting import Setting, TaskSetting
from nonlin.run.standings import Arm

OTHER = dataclasses.replace(TASK, name="other", budget=nl.Budget(epochs=5, batch_size=50, clip_norm=1.0))
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def compared():
    """Two tasks, tuned rates, a function that diverges, one with its own protocol, one with a parameter."""
    functions = ["relu", "x*sigmoid(beta*x)", "exp(exp(exp(x)))", "selu"]
    return nl.compare(functions, [TASK, OTHER], seeds=7, rates=(0.5, 1.0))


@pytest.fixture(scope="module")
def page(compared, tmp_path_factory):
    path = compared.report(tmp_path_factory.mktemp("report") / "a.html", background=False)
    return path.read_text(encoding="utf-8")


def planted(scores, *, task="small", roles=None, formulas=None, seeds=10):
    """A finished comparison of made-up runs: {label: test scores}."""
    store = Store(None)
    arms = [
        Arm(label, label, (formulas or {}).get(label, f"relu(x) + {number}*x"), {}, (roles or {}).get(label, "given"))
        for number, label in enumerate(scores)
    ]
    training = {"epochs": 4, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.02, "weight_decay": 0.0}
    rows = {"train": 120, "validation": 40, "test": 40}
    setting = TaskSetting(task, training, "0123", rows, "accuracy", "torch")
    config = Setting(arms, [setting], tuple(range(seeds)), (1.0,), (), True, "channel")
    id = add_comparison(store, config.as_dict(), {"nonlin": "0", "torch": "<b>2</b>"})
    for label, values in scores.items():
        for run in runs_of(label, values, task=task, status="diverged" if values[0] is math.nan else "ok"):
            save_run(store, id, run)
    return Comparison(store, id)


def written(comparison, folder, **more):
    return write_comparison(comparison, folder / "a.html", **more).read_text(encoding="utf-8")


def board_rows(page):
    """{caption: [(label, text of the row)]} of the leaderboards."""
    boards = {}
    for table in re.findall(r'<table class="sortable"><caption>(Ranked.*?)</table>', page, re.DOTALL):
        caption = table.split("</caption>")[0]
        rows = re.findall(r'<tr class="[^"]*" data-arm="([^"]*)">(.*?)</tr>', table, re.DOTALL)
        boards[text_of(caption)] = [(text_of(label), text_of(row)) for label, row in rows]
    return boards


def test_well_formed_accessible_and_self_contained(page):
    tags = check_page(page)
    assert tags.count["table"] >= 6
    for word in ("Skip to the content", 'name="viewport"', "<main", "<header", 'aria-label="Sections"', 'lang="en"'):
        assert word in page


def test_the_numbers_are_those_of_the_standings(compared, page):
    boards = board_rows(page)
    assert len(boards) == 4
    for task in compared.tasks:
        for by, measure in (("score", "accuracy"), ("loss", "loss")):
            rows = dict(boards[f"Ranked by test {measure} on {task}"])
            for standing in compared.table(task, by=by):
                value = getattr(standing, by)
                expected = [str(standing.rank), standing.label, number(value.median)]
                if not math.isnan(value.low):
                    expected.append(f"[{number(value.low)}, {number(value.high)}]")
                if standing.diverged:
                    expected.append(f"{standing.diverged} diverged of {standing.seeds}")
                if standing.groups:
                    expected.append(f" {standing.groups} ")
                assert [part for part in expected if part not in rows[standing.label]] == []
                best = standing.role == "given" and math.isnan(standing.p)
                assert ("= tied" in rows[standing.label]) == (standing.tied and not best)
        for line in compared.verdict(task):
            assert escape(line, quote=False) in page.replace("&#39;", "'")


def test_differences_have_the_sign_of_the_column(tmp_path):
    found = planted({"good": [0.9 + 0.001 * k for k in range(10)], "poor": [0.8 + 0.001 * k for k in range(10)]})
    boards = board_rows(written(found, tmp_path))
    assert "−0.1000 [−0.1000, −0.1000]" in dict(boards["Ranked by test accuracy on small"])["poor"]
    assert "+0.1000 [0.1000, 0.1000]" in dict(boards["Ranked by test loss on small"])["poor"]
    assert "worse" in dict(boards["Ranked by test accuracy on small"])["poor"]
    assert "0.002" in dict(boards["Ranked by test accuracy on small"])["poor"]  # 2/2^10, one comparison


def test_nulls_stand_apart(page):
    for table in re.findall(r'<table class="sortable"><caption>Ranked.*?</table>', page, re.DOTALL):
        given, nulls = re.findall(r"<tbody.*?</tbody>", table, re.DOTALL)
        assert "Nulls: controls that should lose" in nulls
        assert set(re.findall(r'<tr class="(\w+)', given)) == {"given"}
        assert set(re.findall(r'<tr class="(\w+)', nulls)) == {"divider", "null"}


def test_pictures(compared, page):
    """Four curves, dots and tuned rates for each task; a row's picture for each standing; each function once."""
    given = [arm for arm in compared.config.arms if arm.role == "given"]
    arms = len(compared.config.arms)
    functions = len({arm.formula for arm in compared.config.arms})
    boards = len(compared.tasks) * 2 * (arms + 1)
    assert page.count('role="img"') == boards + len(compared.tasks) * 6 + functions
    trained = next(row for row in compared.table("small") if row.formula == "x*sigmoid(beta*x)")
    assert f"trained on small: beta 1 → {trained.parameters['beta']:.3g}" in page
    assert page.count('class="series end') <= len(given) * 8


def test_method_says_what_was_done(compared, page):
    method = text_of(re.search(r'id="method-text">(.*?)</div>', page, re.DOTALL).group(1))
    for words in (
        "four activation functions",
        "4 epochs", "5 epochs", "Adam", "batch size 64", "learning rate 0.02", "clipped to norm 1", "120 training",
        "40 validation", "own gain", "0.5, 1", "three seeds that were not used again", "seven seeds (0 to 6)",
        "Wilcoxon", "Holm", "LeCun", "evaluated once", f"PyTorch {compared.provenance['torch']}",
    ):  # fmt: skip
        assert words in method, words


def test_method_follows_the_setting(tmp_path):
    found = nl.compare(["relu", "tanh"], TASK, seeds=[3, 5], normalise=False, nulls=False)
    method = text_of(written(found, tmp_path, tasks=[dataclasses.replace(TASK, remark="a tiny task")]))
    for words in ("two activation functions (relu, tanh)", "none was tuned", "two seeds (3, 5)", "shared one init",
                  "Task small (a tiny task)"):  # fmt: skip
        assert words in method, words
    for words in ("Klambauer", "controls that should lose", "own gain"):
        assert words not in method, words


def test_bibliography(page):
    for words in ("@software{nonlin,", "@misc{klambauer2017self", "nair2010rectified", "wilcoxon1945", "holm1979"):
        assert words in page


def test_the_data_inside_are_the_runs(compared, page):
    data, rows = data_of(page), csv_of(page)
    runs = compared.runs()
    assert len(data["runs"]) == len(rows) == len(runs)
    for run, kept, line in zip(runs, data["runs"], rows, strict=True):
        assert (kept["arm"], kept["seed"], kept["phase"]) == (run.arm, run.seed, run.phase)
        assert kept["test_score"] == (run.test_score if math.isfinite(run.test_score) else None)
        assert line["arm"] == run.arm
        assert (float(line["loss"]) if line["loss"] else None) == (run.loss if math.isfinite(run.loss) else None)
        assert kept["curves"]["loss"] == pytest.approx(run.curves["loss"], rel=1e-5)
    assert data["config"]["seeds"] == list(range(7))
    first = data["standings"]["small"][0]
    assert first["score"]["median"] == compared.table("small")[0].score.median


def test_across_tasks(compared, page):
    table = re.search(r'<section id="across".*?</section>', page, re.DOTALL).group(0)
    text = text_of(table)
    for task in compared.tasks:
        assert f"{task}, accuracy" in text
        for row in compared.table(task):
            assert f"{row.rank} · {number(row.score.median)}" in text


def test_nothing_of_a_users_text_breaks_out(tmp_path):
    scores = {HOSTILE: [0.9, 0.8, 0.85], "a & b": [0.5, 0.6, 0.55], "'\"><b>": [0.7, 0.6, 0.75]}
    found = planted(scores, task=HOSTILE, formulas={"a & b": "where(x < 0, 0, x)"}, roles={"'\"><b>": "null"}, seeds=3)
    page = written(found, tmp_path, cards={HOSTILE: {"advantages": [HOSTILE], "drawbacks": [], "smoothness": HOSTILE}})
    check_page(page)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<b>2</b>" not in page
    assert page.count("<script") == 2
    assert data_of(page)["runs"][0]["arm"] == HOSTILE
    assert csv_of(page)[0]["task"] == HOSTILE


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"one": [0.9] * 3}, "One activation function on small"),
        ({"one": [0.9] * 3, "two": [0.9] * 3}, "too few to tell any pair apart"),
        ({"one": [math.nan] * 3, "two": [math.nan] * 3}, "3 diverged of 3"),
        ({"one": [0.9, 0.8, 0.7], "two": [0.8] * 3, "three": [math.nan] * 3}, "3 without a result"),
        ({f"f{k}": [0.9 - 0.01 * k, 0.8, 0.85 + 0.001 * k] for k in range(30)}, "30 activation functions"),
    ],
)
def test_edges(scores, words, tmp_path):
    page = written(planted(scores, seeds=3), tmp_path)
    check_page(page)
    assert words in text_of(page)


def test_nothing_to_report_yet(tmp_path):
    with pytest.raises(NonlinError, match="nothing to report"):
        write_comparison(planted({}), tmp_path / "a.html")
    with pytest.raises(NonlinError, match=r"must end with \.html"):
        write_comparison(planted({"one": [0.9]}), tmp_path / "a.txt")
    with pytest.raises(NonlinError, match="folder does not exist"):
        write_comparison(planted({"one": [0.9]}), tmp_path / "no" / "a.html")


def test_background(tmp_path):
    """The cards and first diagnoses in the page are those of nonlin.health and nonlin.diagnosis."""
    found = nl.compare(["relu", "tanh"], TASK, seeds=3, nulls=False)
    page = found.report(tmp_path / "a.html").read_text(encoding="utf-8")
    check_page(page)
    text = text_of(page)
    card = nl.health("tanh")
    assert f"tanh {card.gain:.3g} 0 {card.std:.3g}" in text or f"tanh {card.gain:.3g}" in text
    for line in card.words()[0]:
        assert line in text
    from nonlin.diagnosis import diagnose_task

    seen = diagnose_task("tanh", TASK, 0, train=False).initial.layers[0]
    table = text_of(re.search(r'aria-label="Gradients before training".*?</table>', page, re.DOTALL).group(0))
    assert f"{seen.gradient:.3g}".replace("-", "−") in table


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_in_a_browser(page, tmp_path):
    """No word on the console; a click sorts, twice sorts back, nulls stay below; the keyboard reaches the headings."""
    script = """<script>
    const heads = [...document.querySelectorAll("table.sortable th[data-sort]")].slice(0, 10);
    const named = (words) => heads.find((head) => head.textContent.startsWith(words));
    const column = (head) => {
      const at = [...head.parentNode.children].indexOf(head);
      const rows = (body) => [...body.rows].filter((row) => !row.classList.contains("divider"));
      return [...head.closest("table").tBodies].map((body) => rows(body).map((row) => row.cells[at].dataset.value));
    };
    const result = {};
    for (const words of ["function", "test loss"]) {
      const head = named(words);
      head.querySelector("button").click();
      result[words] = [head.getAttribute("aria-sort"), column(head)];
      head.querySelector("button").click();
      result[words + " again"] = [head.getAttribute("aria-sort"), column(head)];
    }
    const legend = document.querySelector(".legend button");
    legend.click();
    result.held = [legend.getAttribute("aria-pressed"), document.querySelectorAll(".series.dim").length > 0];
    result.buttons = document.querySelectorAll("[data-copy]:not([hidden]), [data-save]:not([hidden])").length;
    result.wide = document.documentElement.scrollWidth <= innerWidth;
    const out = document.createElement("pre");
    out.id = "result";
    out.textContent = JSON.stringify(result);
    document.body.append(out);
    </script></body>"""
    path = tmp_path / "a.html"
    path.write_text(page.replace("</body>", script), encoding="utf-8")
    dom, console = browse(path, tmp_path / "profile", "--window-size=500,900")
    assert console == []
    import json

    result = json.loads(re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL).group(1).replace("&gt;", ">"))
    for words, key in (("function", str.lower), ("test loss", lambda text: float(text or "inf"))):
        (up, forward), (down, backward) = result[words], result[f"{words} again"]
        assert (up, down) == ("ascending", "descending")
        for one, two in zip(forward, backward, strict=True):
            there = [value for value in one if value not in ("", "inf", "-inf")]
            assert sorted(there, key=key) == [value for value in one if value in there]
            assert [value for value in two if value in there] == there[::-1]
    assert result["held"] == ["true", True]
    assert result["buttons"] == 4
    assert result["wide"], "a phone must not have to scroll the page sideways"


def test_ranked_by_loss_the_page_says_what_the_verdict_by_loss_says(compared, tmp_path):
    text = text_of(compared.report(tmp_path / "loss.html", background=False, by="loss").read_text(encoding="utf-8"))
    for task in compared.tasks:
        assert compared.verdict(task, "loss")[0] in text
        assert f"Ranked by test loss on {task}" in text
    assert "minus that of each, seed by seed" in text
    assert "The same by test accuracy" in text
