"""Lines of progress: what they count, and what they leave out."""

import pytest

from nonlin.cli.progress import Progress, _best, _rate
from nonlin.run.store import Trial


def trial(role="candidate", number=0):
    return Trial(number, role, "random function 2", "x", "key", {}, {}, 0, "ok", 0.975, 0.1)


def test_a_null_is_marked():
    assert _best(trial("null")) == "best 0.9750 random function 2 (null)"
    assert _best(trial()) == "best 0.9750 random function 2"


@pytest.mark.parametrize(
    ("children", "seconds", "said"),
    [(0, 9.0, ""), (5, 0.0004, ""), (30, 2.0, "15.0 children/s  "), (2, 40.0, "20.0 s a child  ")],
)
def test_a_rate_needs_children_and_time(children, seconds, said):
    assert _rate(children, seconds) == said


def test_after_continuing_no_rate_is_made_up(capsys):
    progress = Progress()
    progress.counting("core-1")
    progress.restored(trial(), 4, 20)
    progress.finished(trial(number=5), 5, 20)
    progress.finished(trial(number=6), 6, 20)
    out = capsys.readouterr().out
    assert "counting the distinct functions of core-1 ..." in out
    assert "6/20 children, best 0.9750" in out
    assert "children/s" not in out
