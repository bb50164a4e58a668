"""Searches on a Ray cluster: the list of a local search, whatever happens to the workers."""

import dataclasses
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from small import DEADLY, TASK, build

import nonlin as nl
from nonlin.cli import main
from nonlin.errors import SearchError, TaskError
from nonlin.run import start
from nonlin.run.job import Job

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::ResourceWarning")

from nonlin.run import cluster as module  # noqa: E402


def rows(study):
    """Everything that must not depend on where children are trained."""
    return [
        (t.number, t.role, t.name, t.formula, t.key, t.status, repr(t.score), repr(t.loss), t.epochs, t.rungs, t.curves)
        for t in study.trials()
    ]


@pytest.fixture(scope="module")
def connected():
    """Ray on this machine, as a user's own script may have started it."""
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"  # or Ray writes a token into the home folder
    ray.init(
        address="local", num_cpus=2, object_store_memory=100 * 2**20, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    yield
    ray.shutdown()
    if before is None:
        del os.environ["RAY_AUTH_MODE"]


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


# Addresses


@pytest.fixture
def not_connected(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_said_at_once(not_connected, scheme):
    address = f"{scheme}127.0.0.1:{closed_port()}"
    begin = time.monotonic()
    with pytest.raises(SearchError, match="nothing answers at address") as caught:
        nl.search(TASK, budget=1, address=address)
    assert time.monotonic() - begin < 5
    assert address in str(caught.value)
    assert "ray start --head" in str(caught.value)


@pytest.mark.parametrize("address", ["cluster", "host:", ":6379", "host:port", "ray://host", "host:99999"])
def test_what_is_no_address(not_connected, address):
    with pytest.raises(SearchError, match="a cluster's address is") as caught:
        start(0, address)
    assert repr(address) in str(caught.value)


def test_no_cluster_here(not_connected, monkeypatch):
    def refuse(**_):
        raise ConnectionError("Could not find any running Ray instance.\nmore")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(SearchError, match=r"'auto': Could not find any running Ray instance\. Start a cluster with"):
        start(0, "auto")


# Searches


def make_task(marker):
    """A task of a closure, which plain pickle cannot send; its first child with a cosh kills its worker, once."""

    def build_and_die_once(act):
        if "cosh" in str(act.activation.expr) and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return build(act)

    return dataclasses.replace(TASK, name="once", build=build_and_die_once)


def test_a_killed_worker_an_interruption_and_the_same_list(connected, tmp_path):
    marker = tmp_path / "died"
    marker.write_text("")
    whole = nl.search(make_task(marker), budget=28, seed=5)
    marker.unlink()
    store = tmp_path / "a.db"
    with pytest.raises(KeyboardInterrupt):
        nl.search(make_task(marker), budget=28, seed=5, store=store, address="auto", watcher=StopAfter(20))
    done = {t.number: t.seconds for t in nl.Study.open(store).trials() if t.status != "running"}
    assert 20 < len(done) < 40
    study = nl.search(make_task(marker), budget=28, seed=5, store=store, address="auto")
    assert int(marker.read_text()) != os.getpid()  # a worker has been killed
    assert rows(study) == rows(whole)
    assert {t.number: t.seconds for t in study.trials() if t.number in done} == done
    assert ray.is_initialized()  # what the user connected stays connected


def jobs(*formulas):
    return [Job(number, formula, {}, 0, True, "channel", {}, "torch") for number, formula in enumerate(formulas)]


def train(task, *formulas, **settings):
    with start(0, "auto") as crew:
        crew.begin(task)
        for job in jobs(*formulas):
            crew.submit(job)
        found = []
        while len(found) < len(formulas):
            found += [crew.next(), *crew.more()]
    return dict(found)


def test_a_child_that_always_kills_its_worker_fails_alone(connected):
    found = train(DEADLY, "sin(x)", "cosh(x)", "relu(x)", "tanh(x)")
    assert {number: outcome.status for number, outcome in found.items()} == {0: "ok", 1: "failed", 2: "ok", 3: "ok"}
    assert found[1].error == f"its worker died {module.ATTEMPTS} times in training"


def test_the_users_own_files_travel(connected, tmp_path):
    """Two modules of the user's own, one in the other; by the time workers run, their files are gone."""
    names = ("own_width", "own_model")
    sources = ("WIDTH = 5\n", "from torch import nn\nimport own_width\n\n"
               "def build(act):\n    width = own_width.WIDTH\n"
               "    return nn.Sequential(nn.Linear(2, width), act(width), nn.Linear(width, 2))\n")  # fmt: skip
    modules = []
    for name, source in zip(names, sources, strict=True):
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        modules.append(importlib.util.module_from_spec(spec))
        sys.modules[name] = modules[-1]
        spec.loader.exec_module(modules[-1])
        path.unlink()
    try:
        task = dataclasses.replace(TASK, name="own", build=modules[1].build)
        found = train(task, "tanh(x)")
    finally:
        for name in names:
            del sys.modules[name]
    job = jobs("tanh(x)")[0]
    assert found[0].curves == job.run(task).curves


def test_a_worker_with_another_version_ends_the_search(connected, monkeypatch):
    monkeypatch.setattr(nl, "__version__", "0.0.0")
    with pytest.raises(SearchError, match=r"has nonlin .* runs with 0\.0\.0"):
        nl.search(TASK, budget=1, address="auto")


def test_a_task_that_is_wrong_everywhere_ends_the_search(connected):
    with pytest.raises(TaskError, match=r"build returned str, not an nn\.Module"):
        train(dataclasses.replace(TASK, name="model", build=lambda act: "no model"), "tanh(x)")


def test_what_cannot_be_sent_says_so(connected):
    lock = threading.Lock()
    task = dataclasses.replace(TASK, name="locked", build=lambda act: (lock, build(act))[1])
    with pytest.raises(SearchError, match="'locked' cannot be sent to the cluster"):
        nl.search(task, budget=1, address="auto")


# Groups


def test_groups_share_what_waits_among_the_workers(connected):
    """No child twice, none forgotten, and no worker without one while others have several."""
    with start(2, "auto") as crew:
        crew.begin(TASK)
        for job in jobs(*(f"sin({k}*x)" for k in range(1, 24))):
            crew.submit(job)
        crew._hand_out()
        sizes = [len(group) for group in crew.running.values()]
        assert sum(sizes) == 23
        assert len(sizes) == 2 * crew.slots()
        assert max(sizes) - min(sizes) <= 1


def test_machines_that_go_do_not_count_against_a_child():
    crew = object.__new__(module.Cluster)
    crew.queue, crew.finished = module.deque(), module.deque()
    (job,) = jobs("sin(x)")
    lost = module.exceptions.NodeDiedError("gone")
    crew._again([module.Waiting(job, died=module.ATTEMPTS - 1, moved=module.MOVES - 1)], lost)
    assert [waiting.job for waiting in crew.queue] == [job]
    crew._again([module.Waiting(job, moved=module.MOVES)], lost)
    assert crew.finished[0][1].status == "failed"


# The command


def test_command_line(tmp_path):
    """Ray started and ended by the command, in a process of its own; nothing of it stays behind."""
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "nonlin", "search", "--space", "core-1", "--budget", "2", "--store", "a.db"]
    done = subprocess.run(
        [*command, "--address", "local", "--workers", "1", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert nl.Study.open(tmp_path / "a.db").finished
    assert not [line for line in commands(tmp_path) if b"raylet" in line]


def test_command_line_with_a_wrong_address(not_connected, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nonlin", "search", "--address", f"127.0.0.1:{closed_port()}", "--budget", "1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: nothing answers at address")
    assert "Traceback" not in said


def commands(home):
    """Command lines of the processes whose home folder this is."""
    found = []
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                with open(f"/proc/{process}/environ", "rb") as file:
                    if f"HOME={home}\0".encode() in file.read() + b"\0":
                        found.append(open(f"/proc/{process}/cmdline", "rb").read())  # noqa: SIM115
            except OSError:
                continue
    return found
