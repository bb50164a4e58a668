"""What can be said of executors without a cluster."""

import sys
from dataclasses import replace

import pytest
from small import TASK

import nonlin as nl
from nonlin.errors import MissingExtraError, SearchError
from nonlin.run import loop, start
from nonlin.run.executor import Executor
from nonlin.run.job import Job
from nonlin.run.store import Store
from nonlin.strategies import count


def test_an_address_without_ray_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "nonlin.run.cluster", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'nonlin\[ray\]'"):
        nl.search(TASK, budget=1, address="auto")


def test_an_address_is_not_given_twice():
    with start() as crew, pytest.raises(SearchError, match="not both"):
        nl.search(TASK, budget=1, workers=crew, address="auto")


@pytest.mark.parametrize("workers", [100_000, -1, 1.5, True])
def test_no_number_of_workers(workers):
    with pytest.raises(SearchError, match=f"workers.*{workers:,}" if workers == 100_000 else f"got {workers}"):
        nl.search(TASK, budget=1, workers=workers)


def test_workers_hand_over_all_that_is_there():
    with start(2) as crew:
        assert isinstance(crew, Executor)
        assert crew.slots() == 2
        crew.begin(TASK)
        for number, formula in enumerate(("x*tanh(x)", "sin(x)", "relu(x)", "atan(x)", "cos(x)")):
            crew.submit(Job(number, formula, {}, 0, True, "channel", {}, "torch"))
        found = []
        while len(found) < 5:
            found += [crew.next(), *crew.more()]
        assert sorted(number for number, _ in found) == [0, 1, 2, 3, 4]
        assert crew.more() == []
        assert {outcome.status for _, outcome in found} == {"ok"}


@pytest.mark.parametrize("workers", [0, 2])
def test_one_crew_for_several_searches(workers):
    with start(workers) as crew:
        seeds = [nl.search(TASK, budget=2, seed=seed, workers=crew) for seed in (0, 1)]
        compared = nl.compare(["relu", "tanh"], TASK, seeds=2, workers=crew, protocols=False)
    assert [study.finished for study in seeds] == [True, True]
    assert compared.finished


def test_a_crew_whose_search_failed_is_closed():
    with start(2) as crew:
        with pytest.raises(KeyError):
            nl.search(TASK, budget=3, workers=crew, watcher=Stopping())
        with pytest.raises(SearchError, match="closed"):
            nl.search(TASK, budget=3, workers=crew)


class Stopping:
    """A watcher that fails at the first child."""

    def counted(self, found):
        pass

    def finished(self, trial, done, total):
        raise KeyError(trial.name)


def test_the_window_is_part_of_the_search(tmp_path):
    store = tmp_path / "a.db"
    first = nl.search(TASK, budget=3, store=store)
    assert "window" not in first.config.as_dict()  # as in stores from before it could be chosen
    assert nl.search(TASK, budget=3, store=store, window=16).id == first.id
    other = nl.search(TASK, budget=3, store=store, window=40)
    assert other.id != first.id
    assert nl.Study.open(store, other.id).config.window == 40
    with pytest.raises(SearchError, match="window"):
        nl.search(TASK, budget=3, window=0)


def test_no_more_children_are_out_than_the_window_allows():
    class Counting(type(start())):
        out = most = 0

        def submit(self, job):
            super().submit(job)
            self.out += job.number >= 12  # the first twelve are controls, all handed out at once
            self.most = max(self.most, self.out)

        def next(self):
            number, outcome = super().next()
            self.out -= number >= 12
            return number, outcome

    crew = Counting()
    nl.search(TASK, budget=12, workers=crew, window=5)
    assert crew.most == 5


def test_fast_children_go_out_several_at_once():
    """Only in the compiled core, only once it is known that they are fast, and none twice."""
    from nonlin.run.local import AHEAD, QUICK, Workers

    with Workers(0) as crew:  # nothing is trained: only who gets what
        crew.running = {"first": None, "second": None}
        job = Job(0, "tanh(x)", {}, 0, True, "channel", {}, "core")

        def sizes(pace, engine="core"):
            crew.pace = pace
            crew.queue.extend((replace(job, number=k, engine=engine), 1) for k in range(20))
            taken = []
            while crew.queue:
                taken.append([one.number for one, _ in crew._group()])
            assert [number for group in taken for number in group] == list(range(20))
            return [len(group) for group in taken]

        assert set(sizes(QUICK)) == {1}
        assert max(sizes(QUICK / 100)) == AHEAD
        assert set(sizes(QUICK / 100, "torch")) == {1}
        crew.running = {}


def test_a_saved_state_counts_on_nothing_that_is_not_stored(tmp_path, monkeypatch):
    """Outcomes that come youngest first: some are told without waiting, right after others have been asked."""
    monkeypatch.setattr(loop, "STATE_SHARE", float("inf"))  # save after every outcome
    save, saved = Store.save_state, []

    def watched(self, study, told, state):
        saved.append(len(self.trials(study)) - state["asked"])
        save(self, study, told, state)

    monkeypatch.setattr(Store, "save_state", watched)

    class Backwards(type(start())):
        def next(self):
            self.queue.rotate(1)
            return super().next()

    nl.search(TASK, budget=12, store=tmp_path / "a.db", workers=Backwards(), window=5)
    assert len(saved) > 12
    assert set(saved) == {0}


def test_children_finish_while_the_space_is_counted(monkeypatch):
    events = []

    class Watcher:
        def counting(self, space):
            events.append("counting")

        def counted(self, found):
            events.append("counted")

        def restored(self, best, done, total): ...

        def finished(self, trial, done, total):
            events.append("finished")

    def slowly(space, meanwhile):
        while "finished" not in events:
            meanwhile()
        return count(space)

    monkeypatch.setattr(loop, "count", slowly)
    nl.search(TASK, budget=2, workers=1, watcher=Watcher())
    assert events[0] == "counting"
    assert "finished" in events[: events.index("counted")]
    assert events.count("finished") == 14
