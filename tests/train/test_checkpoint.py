"""Interrupted anywhere, a training goes on to the same figures; damage is one error; nothing is lost."""

import dataclasses
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_networks import DATA, NET, figures, with_budget

import nonlin as nl
from nonlin.errors import TrainingError
from nonlin.tasks.rows import Rows
from nonlin.train import fit
from nonlin.train.checkpoint import Checkpoint


class Interrupted(BaseException):
    """What Ctrl-C does: no exception that training would take for the model's."""


class Until:
    """Interrupts after so many steps and looks; remembers where the training went on."""

    def __init__(self, calls=10**9):
        self.calls, self.begun = calls, None

    def resumed(self, step, steps):
        self.begun = step

    def stepped(self, pace):
        self.calls -= 1
        if self.calls == 0:
            raise Interrupted


SETTINGS = {
    "adamw": {},
    "sgd": {"optimizer": "sgd", "schedule": "step", "milestones": (0.5,), "nesterov": True},
    "steps": {"steps": 14, "schedule": "cosine", "warmup": 3, "label_smoothing": 0.1, "clip_norm": 0.5},
    "parts": {"accumulate": 3},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_interrupted_anywhere(settings, tmp_path):
    task = with_budget(NET, **settings)
    expected = figures(fit(task, "swish", seed=1, final=True))
    for calls in range(1, 18, 3):  # 14 or 16 steps, and 4 looks at validation data
        folder = tmp_path / str(calls)
        with pytest.raises(Interrupted):
            fit(task, "swish", seed=1, final=True, checkpoint=folder, every=0, watcher=Until(calls))
        watcher = Until()
        found = fit(task, "swish", seed=1, final=True, checkpoint=folder, every=0, watcher=watcher)
        assert figures(found) == expected
        assert watcher.begun is None if calls == 1 else watcher.begun > 0


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_too(precision, tmp_path):
    expected = figures(fit(NET, "relu", precision=precision))
    with pytest.raises(Interrupted):
        fit(NET, "relu", precision=precision, checkpoint=tmp_path, every=0, watcher=Until(7))
    assert figures(fit(NET, "relu", precision=precision, checkpoint=tmp_path)) == expected


def test_interrupted_again_and_again(tmp_path):
    expected = figures(fit(NET, "swish"))
    for _ in range(12):
        try:
            outcome = fit(NET, "swish", checkpoint=tmp_path, every=0, watcher=Until(3))
        except Interrupted:
            continue
        break
    assert figures(outcome) == expected


def test_a_finished_training_is_not_trained_again(tmp_path):
    first = fit(NET, "swish", checkpoint=tmp_path)
    watcher = Until(1)
    assert figures(fit(NET, "swish", checkpoint=tmp_path, watcher=watcher)) == figures(first)
    assert watcher.begun == 16
    final = fit(NET, "swish", checkpoint=tmp_path, final=True)
    assert figures(final) == figures(fit(NET, "swish", final=True))


@pytest.mark.parametrize("settings", [{"rungs": {2: 0.0}}, {"normalise": False}, {"per": "tensor"}], ids=str)
def test_other_settings_are_another_training(settings, tmp_path):
    fit(NET, "swish", checkpoint=tmp_path)
    assert figures(fit(NET, "swish", checkpoint=tmp_path, **settings)) == figures(fit(NET, "swish", **settings))
    assert len(list(tmp_path.glob("*.checkpoint"))) == 2


def test_stopped_and_diverged_stay_so(tmp_path):
    for act, settings in (("sigmoid", {"rungs": {2: 0.0}}), ("log(x)", {})):
        expected = fit(NET, act, **settings)
        assert expected.status in ("stopped", "diverged")
        for _ in range(2):
            found = fit(NET, act, checkpoint=tmp_path, **settings)
            assert (found.status, found.curves) == (expected.status, expected.curves)


def file_of(folder):
    (path,) = folder.glob("*.checkpoint")
    return path


@pytest.mark.parametrize("damage", ["a bit", "the end", "everything"])
def test_a_damaged_file_is_one_error_and_stays(damage, tmp_path):
    fit(NET, "relu", checkpoint=tmp_path)
    path = file_of(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[len(content) // 2] ^= 1
    else:
        content = content[:-10] if damage == "the end" else bytearray()
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="is damaged") as caught:
        fit(NET, "relu", checkpoint=tmp_path)
    assert str(path) in str(caught.value)
    assert "move it away to train from the beginning" in str(caught.value)
    assert path.read_bytes() == bytes(content)


def test_a_writing_that_fails_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoint = Checkpoint.of(tmp_path, {"task": "t"})
    checkpoint.write({"step": 1})
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(TrainingError, match=r"No space left on device\. The one before it is still there"):
        checkpoint.write({"step": 2})
    assert checkpoint.read() == {"step": 1}


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot make the folder"):
        fit(NET, "relu", checkpoint=tmp_path / "file" / "in it")


def test_the_trained_weights_are_in_it(tmp_path):
    fit(NET, "swish", checkpoint=tmp_path)
    content = file_of(tmp_path).read_bytes().partition(b"\n")[2]
    state = torch.load(io.BytesIO(content), weights_only=True)["state"]
    assert state["finished"]
    assert state["model"]["0.weight"].shape == (16, 6)


class Noisy(Rows):
    """Inputs that are augmented: other ones in every epoch."""

    def __init__(self, x):
        self.x, self.shape = x, x.shape

    def read(self, rows):
        return self.x[rows]

    def augmented(self, rows, seed, epoch):
        shifts = [torch.randn(6, generator=torch.Generator().manual_seed(97 * epoch + int(row))) for row in rows]
        return self.x[rows] + 0.1 * torch.stack(shifts)

    def first(self, count):
        return Noisy(self.x[:count])

    def fingerprint(self):
        return self.x.numpy().tobytes()


def test_augmented_data_too(tmp_path):
    data = nl.Data((Noisy(DATA.train[0]), DATA.train[1]), DATA.validation, DATA.test)
    task = dataclasses.replace(NET, name="noisy", data=data)
    expected = figures(fit(task, "relu"))
    assert expected["curves"] != figures(fit(NET, "relu"))["curves"]
    with pytest.raises(Interrupted):
        fit(task, "relu", checkpoint=tmp_path, every=0, watcher=Until(8))
    assert figures(fit(task, "relu", checkpoint=tmp_path, every=0)) == expected


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from small_networks import NET, with_budget
from nonlin.train import fit

class Slow:
    def resumed(self, step, steps): pass
    def stepped(self, pace): time.sleep(0.01)

fit(with_budget(NET, epochs=50), "swish", checkpoint={folder!r}, every=0, watcher=Slow())
"""


def test_killed_without_warning(tmp_path):
    script = KILLED.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        limit = time.monotonic() + 60
        while not list(tmp_path.glob("*.checkpoint")) and time.monotonic() < limit:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        assert process.poll() is None
    finally:
        process.kill()  # SIGKILL: no handler runs
        process.wait()
    task, watcher = with_budget(NET, epochs=50), Until()
    found = fit(task, "swish", checkpoint=tmp_path, watcher=watcher)
    assert 0 < watcher.begun < 200
    assert figures(found) == figures(fit(task, "swish"))
