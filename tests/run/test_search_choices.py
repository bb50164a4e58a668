"""What a search can be given: any strategy and space, also the user's own; each resumes exactly."""

import math

import pytest
from small import TASK

import nonlin as nl
from nonlin.errors import SearchError
from nonlin.expr import parse
from nonlin.run.ranking import Ranking
from nonlin.run.store import Store
from nonlin.strategies import Space
from nonlin.strategies import space as nl_space
from nonlin.strategies.listing import Random


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


class Own(Random):
    """A strategy of the user's own that remembers whom it was told about."""

    heard: list = []  # noqa: RUF012

    def tell(self, expr, score, loss):
        Own.heard.append(str(expr))


def rows(study):
    return [(t.formula, t.status, repr(t.loss)) for t in study.trials()]


@pytest.mark.parametrize(
    ("strategy", "space"),
    [
        ("evolution", "core-1"), ("ppo", "core-2"), ("surrogate", "surrogate-paper"), ("entropy", "core-2"),
        ("exhaustive", "core-2"), (Own, "core-2"),
    ],
)  # fmt: skip
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, strategy, space):
    choice = {"strategy": strategy, "space": space, "budget": 20, "seed": 2}
    whole = nl.search(TASK, **choice)
    for count in (14, 16):
        with pytest.raises(KeyboardInterrupt):
            nl.search(TASK, **choice, store=tmp_path / "a.db", watcher=StopAfter(count))
    study = nl.search(TASK, **choice, store=tmp_path / "a.db")
    assert rows(study) == rows(whole)
    assert sum(trial.role == "candidate" for trial in study.trials()) == 20
    if space != "core-1":
        assert study.census["expressions"] > 100_000
        assert study.census["sampled"] == 200
        assert study.report(tmp_path / "r.html").exists()


def test_a_strategy_hears_of_the_well_known_functions_first():
    Own.heard.clear()
    nl.search(TASK, strategy=Own, budget=3, space="core-2")
    known = [text for text in Own.heard if text in ("relu(x)", "x*Phi(x)", "tanh(x)", "x", "1")]
    assert known == ["relu(x)", "x*Phi(x)", "tanh(x)", "x", "1"]
    assert len(Own.heard) >= 12 + 3


def test_a_space_of_ones_own_is_kept_in_the_store(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('like = "core-1"\ntemplates = ["b(x, u(x))"]\nper = "tensor"\n')
    with pytest.raises(KeyboardInterrupt):
        nl.search(TASK, space=str(path), budget=8, store=tmp_path / "a.db", watcher=StopAfter(14))
    path.unlink()
    study = nl.Study(Store(tmp_path / "a.db"), 1, TASK).run()
    assert study.finished
    assert (study.config.space, study.config.per, study.space.templates) == ("mine", "tensor", ("b(x, u(x))",))
    where = Space("mine", ("a", "sin(a)"), ("a*b",))
    assert nl.search(TASK, space=where, per="channel").config.per == "channel"


def test_a_strategy_of_ones_own_cannot_be_resumed_without_it(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        nl.search(TASK, strategy=Own, space="core-2", budget=4, store=tmp_path / "a.db", watcher=StopAfter(14))
    with pytest.raises(SearchError, match="your own strategy 'Own'"):
        nl.Study(Store(tmp_path / "a.db"), 1, TASK).run()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "core-2"}, "39,062,500 expressions, too many to train them all. Give a budget"),
        ({"strategy": 3}, "a strategy is a name or a callable"),
        ({"strategy": Own(nl_space("core-1"), 0)}, "pass its class, not an instance"),
        ({"strategy": dict}, "takes .space, seed."),
        ({"space": "nowhere.toml"}, "no file nowhere.toml"),
    ],
)
def test_bad_choices(arguments, message):
    with pytest.raises(SearchError, match=message):
        nl.search(**({"task": TASK, "budget": None} | arguments))


class Number(Random):
    def ask(self):
        return 42


class Text(Random):
    def ask(self):
        return "tanh(x)"


class Closed(Random):
    def state_dict(self):
        return {"chosen": lambda: 0}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Number, "'Number' proposed int 42; ask.. must return an expression"),
        (Text, "'Text' proposed str 'tanh.x.'; ask.. must return an expression"),
        (Closed, "the state of the strategy 'Closed' cannot be kept .*must return JSON values"),
    ],
)
def test_what_a_strategy_of_ones_own_must_not_return(made, said, monkeypatch):
    monkeypatch.setattr("nonlin.run.loop.STATE_SHARE", math.inf)  # the state is saved after every outcome
    with pytest.raises(SearchError, match=said):
        nl.search(TASK, strategy=made, space="core-2", budget=3)


class Repeating(Random):
    def ask(self):
        return parse("tanh(x)")


def test_a_strategy_that_proposes_nothing_new_is_named():
    verdict = Ranking(nl.search(TASK, strategy=Repeating, space="core-2", budget=3)).verdict()
    assert "No candidate was trained: the strategy 'Repeating' proposed nothing that is new" in verdict
    assert "does not show a need" not in verdict
