"""Asynchronous halving: no worker waits, NaN never passes, and an interrupted search goes on exactly."""

import heapq
import math
import zlib

import numpy as np
import pytest
from small import TASK

import nonlin as nl
from nonlin.errors import SearchError
from nonlin.run.executor import Executor
from nonlin.run.halving import AsynchronousRule, QuantileRule, agreements, rungs_of
from nonlin.run.store import Trial
from nonlin.strategies.functions import BINARY, UNARY
from nonlin.strategies.spaces import Space
from nonlin.train import Outcome

SPACE = Space("small", UNARY[:1] + UNARY[10:16] + UNARY[18:21], BINARY[:3])  # 300 expressions
BUDGET, TOTAL = 28, 40  # candidates, and all with the controls


class Simulated(Executor):
    """Workers with clocks of their own, of which the first is slow; children are trained, the time is made up.

    `idle` counts the moments at which the search waits for a child while a worker has none and children are left.
    """

    def __init__(self, workers, total, slowness=25.0, fail_after=None):
        self.free, self.total, self.slowness, self.fail_after = list(range(workers)), total, slowness, fail_after
        self.clock, self.queue, self.running, self.submitted, self.idle, self.done = 0.0, [], [], 0, 0, []

    def begin(self, task):
        self.task = task

    def submit(self, job):
        self.submitted += 1
        self.queue.append(job)

    def next(self):
        while self.queue and self.free:
            job, worker = self.queue.pop(0), self.free.pop(0)
            duration = (1 + zlib.crc32(job.formula.encode()) % 100 / 100) * (self.slowness if worker == 0 else 1)
            heapq.heappush(self.running, (self.clock + duration, job.number, worker, job))
        self.idle += bool(self.free) and self.submitted < self.total
        if self.fail_after is not None and len(self.done) == self.fail_after:
            raise KeyboardInterrupt
        self.clock, number, worker, job = heapq.heappop(self.running)
        self.free.append(worker)
        self.done.append(number)
        return number, job.run(self.task)

    def slots(self):
        return len(self.free) + len(self.running)

    def close(self):
        self.running.clear()


def rows(study):
    return [(t.number, t.formula, t.status, repr(t.loss), t.epochs, t.rungs) for t in study.trials()]


def searched(crew, store=None, halving="async", strategy="evolution"):
    return nl.search(TASK, SPACE, strategy, BUDGET, seed=2, store=store, workers=crew, halving=halving, window=6)


def test_no_worker_waits_for_a_slow_one():
    asynchronous, in_order = Simulated(3, TOTAL), Simulated(3, TOTAL)
    found = searched(asynchronous)
    searched(in_order, halving=True)
    assert len(found.trials()) == TOTAL
    assert asynchronous.idle == 0
    assert in_order.idle > 0  # the check can fail
    assert asynchronous.clock < 0.75 * in_order.clock
    assert {trial.status for trial in found.trials()} >= {"ok", "stopped"}


def test_one_order_of_completion_gives_one_search():
    assert rows(searched(Simulated(3, TOTAL))) == rows(searched(Simulated(3, TOTAL)))
    assert rows(searched(Simulated(3, TOTAL))) != rows(searched(Simulated(3, TOTAL, slowness=1.0)))


@pytest.mark.parametrize("when", [0, 9, 25])
def test_an_interrupted_search_goes_on_from_what_came(tmp_path, when):
    """What was asked and told before the interruption repeats itself: the store knows the order of completion."""
    store = tmp_path / "a.db"
    first = Simulated(3, TOTAL, fail_after=when)
    with pytest.raises(KeyboardInterrupt):
        searched(first, store)
    before = {t.number: t for t in nl.Study.open(store).trials()}
    # the same outcomes again, in the same order, then what was in training
    second = searched(Simulated(1, TOTAL), store)
    after = {t.number: t for t in second.trials()}
    assert len(after) == TOTAL
    assert all(after[number].formula == trial.formula for number, trial in before.items())
    assert all(repr(after[number].loss) == repr(t.loss) for number, t in before.items() if t.status != "running")
    assert second.store.completion(second.id)[: len(first.done)] == first.done
    assert sorted(second.store.completion(second.id)) == sorted(after)


def test_interrupted_and_whole_are_the_same_with_one_order(tmp_path):
    """One worker completes in the order asked, interrupted or not."""
    whole = rows(searched(Simulated(1, TOTAL)))
    for when in (5, 25):
        store = tmp_path / f"{when}.db"
        with pytest.raises(KeyboardInterrupt):
            searched(Simulated(1, TOTAL, fail_after=when), store)
        assert rows(searched(Simulated(1, TOTAL), store)) == whole


def trial(number, status, losses):
    return Trial(
        number, "candidate", "x", "x", str(number), {}, {}, 0, status, loss=losses[-1] if losses else math.nan,
        epochs=len(losses), curves={"loss": losses},
    )  # fmt: skip


def test_promotion_is_that_of_asha():
    """A child is promoted exactly if fewer than ⌊(n+1)/η⌋ of its n predecessors are better."""
    generator, rule, told = np.random.default_rng(0), AsynchronousRule({2: 1 / 1.5, 4: 1 / 1.5}), []
    for number in range(40):
        limit = rule.limits().get(2, math.inf)
        for loss in generator.normal(size=5):
            better = sum(other < loss for other in told)
            promoted = math.floor((len(told) + 1) / 1.5)
            assert (loss <= limit) == (better < promoted or promoted < 1)
        told.append(float(generator.normal()))
        rule.tell(trial(number, "ok", [0.0, told[-1], 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))


def test_nan_never_passes():
    rule = AsynchronousRule({2: 1 / 1.5, 4: 1 / 1.5})
    for number in range(30):
        rule.tell(trial(number, "diverged", []))
    assert rule.limits() == {}  # no limit to be beaten by what is not finite, and none that is not a number
    rule.tell(trial(30, "ok", [1.0] * 8))
    for number in range(31, 90):
        rule.tell(trial(number, "ok", [1.0] * 8))
    assert rule.limits() == {2: 1.0, 4: 1.0}
    outcome = Outcome("diverged")
    assert math.isnan(outcome.loss)


@pytest.mark.parametrize("bad", ["asynchronous", 2, None])
def test_what_is_no_halving(bad):
    with pytest.raises(SearchError, match="halving must be True, False or 'async'"):
        nl.search(TASK, budget=1, halving=bad)


def test_agreement_of_rungs_with_the_end():
    generator = np.random.default_rng(1)
    early, final = generator.normal(size=30), generator.normal(size=30)
    trials = [trial(k, "ok", [0.0, 0.5 + final[k], 0.0, early[k], 0.0, 0.0, 0.0, final[k]]) for k in range(30)]
    trials += [trial(30 + k, "stopped", [0.0, 9.0]) for k in range(4)]
    first, second = agreements(trials, 8)
    assert (first.epoch, first.children, first.stopped) == (2, 30, 4)
    assert first.correlation == pytest.approx(1.0)
    ranks = [np.argsort(np.argsort(values)) for values in (early, final)]
    assert second.correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert second.low < second.correlation < second.high
    assert math.isnan(agreements(trials[:3], 8)[0].correlation)
    assert QuantileRule(rungs_of(8)).limits() == {}
