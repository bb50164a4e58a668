"""Studies: complete, ranked, resumable after kill -9, the same for any number of workers."""

import dataclasses
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import DEADLY, TASK, build
from torch import nn

import nonlin as nl
from nonlin.errors import SearchError, StoreError, UnknownNameError
from nonlin.expr import parse
from nonlin.expr.identity import IdentityIndex
from nonlin.run.halving import QuantileRule, rungs_of
from nonlin.run.loop import controls
from nonlin.run.store import Trial


def rows(study):
    """Everything that must not depend on interruptions or workers."""
    return [
        (t.number, t.role, t.name, t.formula, t.key, t.status, repr(t.score), repr(t.loss), t.epochs, t.rungs, t.curves)
        for t in study.trials()
    ]


@pytest.fixture(scope="module")
def whole():
    return nl.search(TASK, budget=40, seed=1)


def test_contents(whole):
    assert whole.finished
    trials = whole.trials()
    roles = [trial.role for trial in trials]
    assert roles.count("baseline") == 7
    assert roles.count("null") == 5
    assert roles.count("candidate") == 40
    assert [trial.number for trial in trials] == list(range(52))
    assert {"relu", "gelu", "silu", "swish", "linear", "constant"} <= {trial.name for trial in trials}
    assert all(trial.status in ("ok", "stopped", "diverged") for trial in trials)
    assert whole.census["expressions"] == 6250
    assert whole.provenance["torch"]


def test_no_function_twice(whole):
    index = IdentityIndex()
    assert all(index.add(parse(trial.formula))[1] for trial in whole.trials())


def test_trials_read_like_mappings(whole):
    trial = whole.top(1)[0]
    assert trial["formula"] == trial.formula
    row = dict(trial)
    assert {"formula", "name", "score", "status", "seed", "seconds"} <= set(row)
    with pytest.raises(KeyError):
        trial["nothing"]


def test_top_is_ordered(whole):
    top = whole.top(None)
    full = [trial for trial in top if trial.status == "ok"]
    assert top[: len(full)] == full
    assert [(-t.score, t.loss) for t in full] == sorted((-t.score, t.loss) for t in full)
    assert len(whole.top(3)) == 3
    assert all(not math.isnan(trial.score) for trial in full)


def test_halving_stops_some_and_never_a_control(whole):
    stopped = [trial for trial in whole.trials() if trial.status == "stopped"]
    assert stopped
    assert {trial.role for trial in stopped} == {"candidate"}
    for trial in stopped:
        assert trial.curves["loss"][-1] > trial.rungs[trial.epochs]
    full = nl.search(TASK, budget=40, seed=1, halving=False)
    assert not [trial for trial in full.trials() if trial.status == "stopped"]
    assert [t.formula for t in full.trials()] == [t.formula for t in whole.trials()]
    same = {t.number: t.loss for t in full.trials()}
    assert all(t.loss == same[t.number] for t in whole.trials() if t.status == "ok")


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(whole, workers):
    assert rows(nl.search(TASK, budget=40, seed=1, workers=workers)) == rows(whole)


class StopAfter:
    """A watcher that interrupts, as Ctrl-C would."""

    def __init__(self, count):
        self.count = count

    def counted(self, found): ...

    def restored(self, best, done, total): ...

    def finished(self, trial, done, total):
        self.count -= 1
        if self.count < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("strategy", ["exhaustive", "random"])
@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, strategy, workers):
    whole = nl.search(TASK, budget=30, seed=2, strategy=strategy)
    path = tmp_path / "a.db"
    for count in (0, 3, 14, 9) if workers == 0 else (3, 12):
        with pytest.raises(KeyboardInterrupt):
            nl.search(TASK, budget=30, seed=2, strategy=strategy, store=path, workers=workers, watcher=StopAfter(count))
    done = {t.number: t.seconds for t in nl.Study.open(path).trials() if t.status != "running"}
    assert done
    study = nl.search(TASK, budget=30, seed=2, strategy=strategy, store=path, workers=workers)
    assert rows(study) == rows(whole)
    # nothing finished was trained again
    assert {t.number: t.seconds for t in study.trials() if t.number in done} == done


SCRIPT = """
import sys; sys.path.insert(0, {folder!r})
import nonlin as nl
from small import TASK
if __name__ == "__main__":
    nl.search(TASK, budget=60, seed=3, store={store!r}, workers={workers}, engine="torch")
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_kill_9(tmp_path, workers):
    store = tmp_path / "a.db"
    script = tmp_path / "search.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent), store=str(store), workers=workers))
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    finished = lambda: _count(store)  # noqa: E731
    _wait_until(lambda: finished() >= 20, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 20 <= finished() < 72
    _wait_until(lambda: not _group_alive(process.pid), None)  # the workers end by themselves
    before = {t.number: t.seconds for t in nl.Study.open(store).trials() if t.status != "running"}
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)
    study = nl.Study.open(store)
    assert study.finished
    assert {t.number: t.seconds for t in study.trials() if t.number in before} == before
    assert rows(study) == rows(nl.search(TASK, budget=60, seed=3, engine="torch"))


def _count(store):
    if not store.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM trials WHERE status != 'running'").fetchone()[0]
    except sqlite3.Error:
        return 0


def _wait_until(condition, process, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the search ended before it was killed"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def _group_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_finished_search_is_returned_as_it_is(tmp_path):
    path = tmp_path / "a.db"
    first = nl.search(TASK, budget=5, store=path)
    second = nl.search(TASK, budget=5, store=path)
    assert (second.id, rows(second)) == (first.id, rows(first))
    other = nl.search(TASK, budget=6, store=path)
    assert other.id == first.id + 1


def test_changed_task_is_refused(tmp_path):
    path = tmp_path / "a.db"
    with pytest.raises(KeyboardInterrupt):
        nl.search(TASK, budget=5, store=path, watcher=StopAfter(2))
    study = nl.Study.open(path)
    study._task = dataclasses.replace(TASK, budget=nl.Budget(epochs=9))
    with pytest.raises(SearchError, match="Use another store"):
        study.run()
    with pytest.raises(SearchError, match="only your script can build"):
        nl.Study.open(path).run()


def test_a_dying_worker_costs_one_child():
    study = nl.search(DEADLY, budget=30, seed=5, workers=2)
    failed = [trial for trial in study.trials() if trial.status == "failed"]
    assert failed
    assert all("cosh" in trial.formula and "died twice" in trial.error for trial in failed)
    assert all(("cosh" in trial.formula) == (trial.status == "failed") for trial in study.trials())


def test_own_functions_stand_among_the_baselines():
    study = nl.search(TASK, budget=2, also=["x*cos(x)**3", "mish", "relu"])
    names = [trial.name for trial in study.trials() if trial.role == "baseline"]
    assert names[-2:] == ["x*cos(x)**3", "mish"]
    assert names.count("relu") == 1


def test_engines_agree():
    """The compiled core, where it is built, gives the reference's result for nearly every child."""
    core = nl.search(TASK, budget=20, seed=4, halving=False)
    torch = nl.search(TASK, budget=20, seed=4, halving=False, engine="torch")
    assert torch.config.engine == "torch"
    assert [t.formula for t in core.trials()] == [t.formula for t in torch.trials()]
    pairs = list(zip(core.trials(), torch.trials(), strict=True))
    assert all(a.status == b.status for a, b in pairs)
    close = [a.loss == pytest.approx(b.loss, rel=1e-3) for a, b in pairs if a.status == "ok"]
    assert sum(close) >= 0.9 * len(close)
    with pytest.raises(SearchError, match="engine"):
        nl.search(TASK, engine="gpu")


def test_a_store_serves_one_search_at_a_time(tmp_path):
    path = tmp_path / "a.db"

    class Second(StopAfter):
        def finished(self, trial, done, total):
            with pytest.raises(StoreError, match=f"process {os.getpid()} is working"):
                nl.search(TASK, budget=3, store=path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nl.search(TASK, budget=3, store=path, watcher=Second(0))
    assert nl.search(TASK, budget=3, store=path).finished


def test_a_store_that_vanishes_is_an_error(tmp_path):
    path = tmp_path / "a.db"

    class Remove(StopAfter):
        def finished(self, trial, done, total):
            path.unlink(missing_ok=True)

    with pytest.raises(StoreError, match="removed while it was in use"):
        nl.search(TASK, budget=3, store=path, watcher=Remove(0))


def test_a_script_without_guard_is_told_so(tmp_path):
    script = tmp_path / "bare.py"
    script.write_text("import nonlin as nl\nnl.search('digits-mlp', budget=1, store='a.db', workers=1)\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_tasks_that_cannot_travel_say_so():
    local = dataclasses.replace(TASK, name="local", build=lambda act: build(act))
    with pytest.raises(SearchError, match="workers=0"):
        nl.search(local, budget=1, workers=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"budget": 0}, SearchError, "budget must be a whole number from 1 to"),
        ({"workers": -1}, SearchError, "workers"),
        ({"seed": 1.5}, SearchError, "seed"),
        ({"per": "layer"}, SearchError, "'layer'"),
        ({"strategy": "grid"}, UnknownNameError, "exhaustive, random"),
        ({"space": "core1"}, UnknownNameError, "core-1"),
        ({"task": "mnist"}, UnknownNameError, "nonlin tasks"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        nl.search(**({"task": TASK} | arguments))


def test_a_model_that_does_not_fit_its_data_stops_the_search():
    broken = dataclasses.replace(TASK, name="broken", build=build_wrong)
    with pytest.raises(SearchError, match="cannot be trained: with relu it fails with RuntimeError"):
        nl.search(broken, budget=3)


def build_wrong(act):
    return nn.Sequential(nn.Linear(3, 8), act(8), nn.Linear(8, 2))


def test_unusable_task_stops_the_search():
    broken = dataclasses.replace(TASK, name="broken", build=lambda act: 3)
    with pytest.raises(nl.errors.TaskError, match=r"not an nn.Module"):
        nl.search(broken, budget=3)


def test_rungs():
    assert list(rungs_of(100)) == [10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90]
    assert list(rungs_of(20)) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18]
    third, sixth = pytest.approx(2 / 3), pytest.approx(5 / 6)
    assert [rungs_of(20)[rung] for rung in (2, 3, 10, 12, 18)] == [third, sixth, sixth, third, third]
    assert rungs_of(15) == {
        2: third,
        **dict.fromkeys((3, 4, 5, 6, 7, 8), sixth),
        9: third,
        10: third,
        12: third,
        14: third,
    }
    assert rungs_of(12) == {3: third, 6: third}  # one epoch says too little
    assert list(rungs_of(4)) == [1, 2]
    assert rungs_of(3) == {}


def trial(number, losses, status="ok"):
    return Trial(number, "candidate", "", "", str(number), {}, {}, 0, status, curves={"loss": losses})


def thresholds(trials, rungs=(2, 5, 10)):
    rule = QuantileRule(dict.fromkeys(rungs, 2 / 3))
    for told in trials:
        rule.tell(told)
    return rule.limits()


def test_limits_are_quantiles_of_those_that_reached_the_rung():
    full = [trial(n, [0.0] * 4 + [float(n)] + [0.0] * 4 + [float(n)]) for n in range(21)]
    stopped = [trial(30 + n, [0.0] * 4 + [100.0], "stopped") for n in range(5)]
    died = [trial(40, [], "diverged")]
    assert thresholds(full) == {2: 0.0, 5: 14.0, 10: 14.0}  # two thirds of 21 are below
    assert thresholds(full + stopped + died) == {2: 0.0, 5: 17.0, 10: 14.0}  # who died is the worst at 2 alone
    assert thresholds(full[:15]) == {}
    assert thresholds([trial(n, [], "diverged") for n in range(40)]) == {}


def test_controls_do_not_depend_on_the_budget():
    from nonlin.strategies import space

    assert controls(space("core-1"), 0) == controls(space("core-1"), 0)
    assert controls(space("core-1"), 0) != controls(space("core-1"), 1)
