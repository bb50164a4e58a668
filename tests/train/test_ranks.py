"""Two processes, started by torchrun, train what one does; a stopped pair goes on; one process alone is no pair."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_networks import PLAIN, with_budget

from nonlin.errors import TrainingError
from nonlin.train import fit
from nonlin.train.ranks import ALONE, joined, ranks

SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from small_networks import NET, PLAIN, figures, with_budget
from nonlin.train import fit
from nonlin.train.ranks import joined, ranks

class Interrupted(BaseException): pass

def gloo_threads():
    return sum("gloo" in name.read_text() for name in Path("/proc/self/task").glob("*/comm"))

class Until:
    def __init__(self, step): self.step, self.begun = step, None
    def resumed(self, step, steps): self.begun = step
    def stepped(self, pace):
        if pace.step == self.step: raise Interrupted

with joined("cpu") as device:
    uneven = with_budget(PLAIN, batch_size=49)
    found = {{"plain": fit(PLAIN, "swish", device=device).curves, "uneven": fit(uneven, "swish", final=True).curves}}
    long = with_budget(NET, epochs=15, batch_size=18)  # 18, 18, 14: BatchNorm needs two rows in each process
    whole = figures(fit(long, "swish"))
    watcher = Until(40)
    try:
        fit(long, "swish", checkpoint={folder!r}, every=0, watcher=watcher)
    except Interrupted:
        pass
    again = Until(10**9)
    found["resumed"] = figures(fit(long, "swish", checkpoint={folder!r}, every=0, watcher=again)) == whole
    found["begun"] = again.begun
    first = ranks().first
    found["threads"] = [gloo_threads()]

found["threads"].append(gloo_threads())
if first:
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What the first of two processes found."""
    folder = tmp_path_factory.mktemp("pair")
    script = folder / "pair.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), folder=str(folder)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("name", "settings"), [("plain", {}), ("uneven", {"batch_size": 49})])
def test_two_processes_give_what_one_gives(pair, name, settings):
    # uneven: 50 rows in batches of 49, so that the second process has no row of the second batch
    alone = fit(with_budget(PLAIN, **settings), "swish", final=True)
    for curve, values in alone.curves.items():
        assert pair[name][curve] == pytest.approx(values, rel=2e-4), curve


def test_two_processes_go_on_together(pair):
    assert pair["resumed"]
    assert 16 <= pair["begun"] < 40


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_the_group_ends_with_its_threads(pair):
    # a gloo thread that lives on to the interpreter's end can abort the process there
    during, after = pair["threads"]
    assert during > 0
    assert after == 0


def test_one_process_is_left_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with joined("cpu") as device:
        assert device == "cpu"
        assert ranks() is ALONE
    assert ALONE.agree(3) == 3
    assert ALONE.collect("a") == ["a"]


def test_more_processes_than_gpus(monkeypatch):
    import torch

    for name, value in {
        "RANK": "2",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "2",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="has 2 GPUs: use --nproc-per-node=2"), joined():
        pass
