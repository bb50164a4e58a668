"""Running experiments: smoke runs, resuming, the table beside the paper's, and what may be missing."""

import json
import math
import os
from dataclasses import replace
from functools import partial

import pytest
from small import TASK

import nonlin as nl
from nonlin.errors import ComparisonError, MissingExtraError, SearchError, TaskError
from nonlin.experiments import cells as cells_module
from nonlin.experiments import grid
from nonlin.experiments.cells import cell_task
from nonlin.experiments.papers import experiment
from nonlin.experiments.tables import table
from nonlin.experiments.tiny_data import write_cifar
from nonlin.run import start
from nonlin.run.runs import Run, save_run, stored_runs


class Count:
    """Counts what is trained; stops after some."""

    def __init__(self, stop=math.inf):
        self.runs, self.stop = [], stop

    def planned(self, done, total): ...

    def trained(self, run, done, total):
        self.runs.append(run)
        if len(self.runs) == self.stop:
            raise KeyboardInterrupt


@pytest.fixture
def shallow(monkeypatch):
    """The networks of a smoke run with few layers, for the suite's sake; NONLIN_SLOW=1 keeps them whole."""
    if os.environ.get("NONLIN_SLOW"):
        return
    from nonlin.tasks.networks import densenet, resnet, vit, wide_resnet

    def made(cell, precision=None):
        task = cell_task(cell, precision)
        classes = 10 if "cifar10-" in cell.task else 100
        if cell.task.endswith("wrn28x10"):
            return replace(task, build=partial(wide_resnet.build_wide_resnet, classes=classes, depth=10))
        if cell.task.endswith("densenet100x12"):
            return replace(task, build=partial(densenet.build_densenet, classes=classes, depth=16))
        if cell.task.endswith("resnet164"):
            return replace(task, build=partial(resnet.build_resnet20, classes=classes))
        return replace(task, build=partial(vit.VisionTransformer, size=task.build.keywords.get("size", 32),
                                           patch=task.build.keywords.get("patch", 4), blocks=1,
                                           classes=task.build.keywords["classes"]))  # fmt: skip

    monkeypatch.setattr(grid, "cell_task", made)


@pytest.mark.parametrize("name", ["swish-table1", "swish-cifar", "crrelu-vit"])
def test_smoke_of_the_image_experiments(name, shallow):
    watcher = Count()
    found = nl.reproduce(name, smoke=True, watcher=watcher)
    assert len(watcher.runs) == 2 * len(experiment(name).cells)
    assert all(run.status in ("ok", "diverged") for run in watcher.runs)
    assert {run.task for run in watcher.runs} == {f"{cell.name}:smoke" for cell in experiment(name).cells}
    for one in found.tables():
        assert [row.function for row in one.rows] == list(experiment(name).pair)
    first = found.tables()[0]
    if name == "swish-cifar":
        assert [row.published for row in first.rows] == [93.8, 94.5]  # of relu and swish, not of the first two
    assert "NONLIN_DATA" not in os.environ or "smoke" not in os.environ["NONLIN_DATA"]


def test_smoke_of_preferences():
    pytest.importorskip("transformers")
    found = nl.reproduce("crrelu-dpo", smoke=True)
    assert found.reduced == ("GPT-2 with 2 blocks of width 32",)
    margins = [one for one in found.tables() if one.measure == "margin"]
    assert len(margins) == 6
    assert all(math.isfinite(row.ours.median) for one in margins for row in one.rows)
    assert all(set(run.measures) == {"margin", "reward", "other_reward"} for run in found.runs())


def test_smoke_of_translation(monkeypatch):
    pytest.importorskip("tokenizers")
    if not os.environ.get("NONLIN_SLOW"):  # a step of the base Transformer takes seconds
        from nonlin.tasks.networks.encoder_decoder import EncoderDecoder

        def narrow(cell, precision=None):
            task = cell_task(cell, precision)
            return replace(
                task, build=lambda act: EncoderDecoder(act, task.data.tokenizer().get_vocab_size(), width=32)
            )

        monkeypatch.setattr(grid, "cell_task", narrow)
    found = nl.reproduce("swish-wmt14", smoke=True)
    assert found.tables()[0].measure == "bleu"


def test_smoke_on_the_command_line(run_nonlin, tmp_path):
    code, out, _ = run_nonlin("reproduce", "relu-to-gelu", "--smoke", "--report", str(tmp_path / "a.html"))
    assert code == 0
    assert out.count("No figure here means anything.") == 2
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "No figure here means anything." in page
    assert "gelu_tanh" in page
    code, out, _ = run_nonlin("reproduce", "relu-to-gelu", "--smoke", "--json")
    found = json.loads(out)
    assert found["smoke"] is True
    assert [row["function"] for row in found["tables"][0]["rows"]] == ["relu", "gelu_tanh"]


def test_an_interrupted_run_goes_on(tmp_path):
    path = tmp_path / "a.db"
    whole = nl.reproduce("relu-to-gelu", smoke=True)
    with pytest.raises(KeyboardInterrupt):
        nl.reproduce("relu-to-gelu", smoke=True, store=path, watcher=Count(stop=1))
    watcher = Count()
    again = nl.reproduce("relu-to-gelu", smoke=True, store=path, watcher=watcher)
    assert [run.arm for run in watcher.runs] == ["gelu_tanh"]
    assert [run.test_loss for run in again.runs()] == [run.test_loss for run in whole.runs()]
    nl.reproduce("relu-to-gelu", smoke=True, store=path, watcher=(last := Count()))
    assert not last.runs


@pytest.fixture
def digits(monkeypatch):
    """relu-to-gelu on another task, which trains in milliseconds, with everything else as it is."""
    monkeypatch.setattr(grid, "cell_task", lambda cell, precision=None: TASK)


def test_the_whole_grid(digits, tmp_path):
    found = nl.reproduce("relu-to-gelu", seeds=2, store=tmp_path / "a.db", workers=0)
    one = found.tables()[0]
    assert [row.formula for row in one.rows] == [nl.activation(f).formula for f in experiment("relu-to-gelu").functions]
    assert all(row.seeds == 2 for row in one.rows)
    comparison = found.comparisons[0]
    assert not comparison.config.normalise
    assert [arm.role for arm in comparison.config.arms] == ["given"] * 6
    assert any("2 seeds" in line for line in one.verdict)
    nl.reproduce("relu-to-gelu", seeds=2, store=tmp_path / "a.db", watcher=(watcher := Count()))
    assert not watcher.runs


def test_workers_serve_one_cell_after_the_other(monkeypatch, tmp_path):
    """A comparison closes the executor that it is given: an experiment of several cells must not lose it."""
    whole = experiment("crrelu-vit")
    two = replace(whole, cells=whole.cells[:2], functions=whole.pair)
    monkeypatch.setattr(grid, "experiment", lambda name: two)
    monkeypatch.setattr(grid, "check_ready", lambda *_: None)
    monkeypatch.setattr(grid, "cell_task", lambda cell, precision=None: replace(TASK, name=cell.name))
    found = nl.reproduce("two", seeds=1, workers=1, store=tmp_path / "a.db")
    assert [len(comparison.runs()) for comparison in found.comparisons] == [2, 2]


def test_the_papers_figures_beside_ours(digits):
    """Figures put in by hand: medians, differences, ranks."""
    found = nl.reproduce("relu-to-gelu", seeds=3)
    comparison = found.comparisons[0]
    cell = experiment("relu-to-gelu").cells[0]
    for run in stored_runs(comparison.store, comparison.id):
        place = [arm.label for arm in comparison.config.arms].index(run.arm)
        values = {"test_score": 0.9 + 0.01 * place + 0.001 * run.seed, "measures": {"bleu": 20.0 - place}}
        save_run(comparison.store, comparison.id, replace(run, **values))
    shown = table(cell, replace(cell.figures[0], published=(90.1, 91.0, 91.5, 93.0, 96.0, 94.9)), comparison)
    assert [row.ours.median for row in shown.rows] == pytest.approx([90.1, 91.1, 92.1, 93.1, 94.1, 95.1])
    assert [row.difference for row in shown.rows] == pytest.approx([0, 0.1, 0.6, 0.1, -1.9, 0.2])
    assert [row.inside for row in shown.rows] == [True, True, False, True, False, False]
    assert shown.agreement == pytest.approx(1 - 6 * 2 / (6 * 35))  # Spearman's, two neighbours exchanged
    other = table(cell, replace(cell.figures[0], measure="bleu"), comparison)
    assert [row.ours.median for row in other.rows] == [20, 19, 18, 17, 16, 15]
    assert other.unit == ""
    assert math.isnan(other.agreement)
    assert other.rows[0].tied


def test_without_the_measure_a_run_is_no_result(digits):
    found = nl.reproduce("relu-to-gelu", seeds=1)
    cell = experiment("relu-to-gelu").cells[0]
    shown = table(cell, replace(cell.figures[0], measure="bleu"), found.comparisons[0])
    assert all(not math.isfinite(row.ours.median) for row in shown.rows)


# What may be missing


def test_missing_data(tmp_path, monkeypatch, run_nonlin):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    code, out, err = run_nonlin("reproduce", "swish-table1", "--store", str(tmp_path / "a.db"))
    assert code == 2
    assert out == ""
    for words in ("CIFAR-10: nonlin tasks --download cifar10-resnet164", "CIFAR-100: nonlin tasks --download cifar100-",
                  "NONLIN_DATA", str(tmp_path), "nothing that is stored is lost", "--smoke"):  # fmt: skip
        assert words in err
    assert not (tmp_path / "a.db").exists()
    write_cifar(tmp_path, 10)
    with pytest.raises(TaskError, match=r"What is here can be run alone: --task cifar10-resnet164 --task cifar10-wrn"):
        nl.reproduce("swish-table1")


def test_missing_extra(monkeypatch):
    monkeypatch.setattr(cells_module, "_installed", lambda package: False)
    for smoke in (False, True):
        with pytest.raises(MissingExtraError, match=r"Task gpt2-dpo-shp needs .*pip install 'nonlin\[hf\]'"):
            nl.reproduce("crrelu-dpo", smoke=smoke)


def test_bad_options(run_nonlin):
    for arguments, words in (
        (["reproduce", "swish"], "unknown experiment 'swish'"),
        (["reproduce", "swish-cifar", "--task", "mnist-cnn"], "unknown task of swish-cifar 'mnist-cnn'"),
        (["reproduce", "relu-to-gelu", "--smoke", "--address", "local"], "leave out --address"),
        (["reproduce", "relu-to-gelu", "--precision", "int8"], "--precision must be"),
        (["reproduce", "relu-to-gelu", "--smoke", "--report", "a.pdf"], "must end with .html"),
    ):
        code, _, err = run_nonlin(*arguments)
        assert code == 2
        assert words in err
    with pytest.raises(ComparisonError, match="Leave out the address"):
        nl.reproduce("relu-to-gelu", smoke=True, address="auto")
    with pytest.raises(SearchError, match="for a cluster with an address; got 1"):
        start(1, gpus=1)


def test_the_list(run_nonlin):
    code, out, _ = run_nonlin("reproduce")
    assert code == 0
    assert "crrelu-dpo" in out
    code, out, _ = run_nonlin("reproduce", "--json")
    assert {row["name"] for row in json.loads(out)["experiments"]} >= {"swish-table1", "relu-to-gelu"}


def test_the_function_is_no_module():
    import nonlin.experiments.grid  # noqa: F401

    assert callable(nl.reproduce)
    assert Run("final", "t", "a", 0.1, 0).measures == {}
