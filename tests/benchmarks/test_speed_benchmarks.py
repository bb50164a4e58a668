"""The benchmarks of speed in small: what they count, what they compare, and the commands."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from nonlin import tasks
from nonlin.benchmarks.children import bench_children, differences, permuted_fits, small
from nonlin.benchmarks.plain import PlainActivation, plain_model, train_plain
from nonlin.benchmarks.recorded import Product, Recorder, work_of
from nonlin.benchmarks.roofline import best_times, product_rates
from nonlin.benchmarks.space import bench_space, recall_of
from nonlin.cli.app import app
from nonlin.errors import NonlinError, UnknownNameError
from nonlin.run.store import Trial
from nonlin.train import Outcome, fit

TINY = {"rows": 120, "epochs": 2}


def test_the_plain_activation_is_the_formula():
    module = PlainActivation("x*sigmoid(beta*x)", 3, 1)
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(module(x), torch.nn.functional.silu(x))
    module(x).sum().backward()
    assert module.values[0].grad.shape == (3,)


def test_the_plain_loop_learns():
    task = small("digits-mlp", 400, 6)
    assert train_plain(task, "relu(x)") < 0.8 * math.log(10)  # of a guess


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn"])
def test_operations_are_those_that_torch_counts(name):
    task = tasks.task(name)
    model, (x, y) = plain_model(task, "relu(x)"), task.load().train
    counted = FlopCounterMode(display=False)
    with counted:
        torch.nn.functional.cross_entropy(model(x[:32]), y[:32]).backward()
    recorder = Recorder()
    with recorder:
        torch.nn.functional.cross_entropy(model(x[:32]), y[:32]).backward()
    assert sum(k * one.operations for one, k in recorder.products.items()) == counted.get_total_flops()


def test_work_of_a_perceptron():
    """Each layer but the first has three products, the first two; 1,077 rows in batches of 128."""
    task = replace(tasks.task("digits-mlp"), budget=replace(tasks.task("digits-mlp").budget, epochs=1))
    work = work_of(task, "relu(x)")
    assert work.operations == 2 * 1077 * (2 * 64 * 64 + 3 * 64 * 64 + 3 * 64 * 10)
    assert work.activations == 1077 * 128
    assert work.optimiser_bytes == 9 * 8970 * 4 * 7


def test_attention_is_counted():
    q = torch.randn(2, 3, 8, 4)
    recorder = Recorder()
    with recorder:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert sum(k * one.operations for one, k in recorder.products.items()) == 2 * (2 * 6 * 8 * 8 * 4)


def test_rates_are_operations_over_time():
    own, by_torch = product_rates({Product(1, 64, 64, 64): 1, Product(3, 16, 32, 16): 2}, rounds=2)
    assert own > 1e7
    assert by_torch > 1e7


def test_a_longer_job_takes_longer(monkeypatch):
    """On a clock that only the jobs move: the second is twenty times as long, and the slow first round is left out."""
    clock, slow = [0.0], iter([3.0] * 4)

    def job(seconds):
        clock[0] += seconds * next(slow, 1.0)

    monkeypatch.setattr("time.process_time", lambda: clock[0])
    short, long = best_times([lambda: job(0.01), lambda: job(0.2)], rounds=3)
    assert (short, long) == pytest.approx((0.01, 0.2))


def test_losses_are_compared_where_both_ended():
    here = [Outcome("ok", 0.9, 0.11), Outcome("diverged"), Outcome("ok", 0.9, 1.0)]
    there = [Outcome("ok", 0.9, 0.10), Outcome("ok", 0.9, 0.3), Outcome("ok", 0.9, 1.0)]
    assert differences(here, there) == pytest.approx([0.1, 0.0])


def test_permuted_batches_change_the_sums_alone():
    task, formulas = small("digits-mlp", 500, 3), ["tanh(x)", "sin(x)"]
    noise = differences(permuted_fits(task, formulas), [fit(task, formula) for formula in formulas])
    assert 0 < max(noise) < 1e-3
    assert fit(task, "tanh(x)").loss == fit(task, "tanh(x)").loss  # torch is as it was


def test_children():
    found = bench_children(["digits-mlp"], 1, ("tanh(x)", "x*sigmoid(beta*x)"), **TINY)
    by_name = {engine.engine: engine for engine in found.tasks[0].engines}
    assert by_name["fit"].largest_difference == 0.0
    for name in set(by_name) - {"plain"}:
        assert by_name[name].same_status
        assert by_name[name].largest_difference < 1e-3
        assert by_name[name].ratio > 0


def test_children_refuse_what_they_do_not_know():
    with pytest.raises(UnknownNameError):
        bench_children(["digits-mpl"])
    with pytest.raises(NonlinError, match="two children"):
        bench_children(["digits-mlp"], 1, ["tanh(x)"])
    with pytest.raises(NonlinError, match="sample of at least 2"):
        bench_space(sample=1)


def trial(number, loss, status="ok"):
    return Trial(number, "candidate", str(number), str(number), f"k{number}", {}, {}, 0, status, 0.5, loss)


def test_recall_counts_the_best_that_were_not_stopped():
    full = [trial(k, 0.01 * k) for k in range(100)]
    halved = [trial(k, 0.01 * k, "stopped" if k in (2, 50) else "ok") for k in range(100)]
    found = recall_of(full, halved, 0.05)
    assert (found.count, found.kept) == (5, 4)
    assert found.low < 0.8 < found.high
    assert recall_of(full, full, 0.05).kept == 5


def test_a_space_in_small():
    task = small("digits-mlp", 120, 4)
    found = bench_space(task, workers=0, sample=2, recall=True, budget=20)
    assert found.trained > 20  # with controls
    assert 0 < found.cost <= 1
    assert 0 < found.startup < found.seconds
    assert found.naive[0] <= found.naive[1] <= found.naive[2]
    assert found.ratio[1] == pytest.approx(20 * found.naive[1] / found.seconds)
    assert found.cpu_seconds > 0
    assert [one.share for one in found.recalls] == [0.01, 0.05, 0.10]


@pytest.mark.parametrize("verb", ["children", "roofline"])
def test_commands(verb, tmp_path):
    picture = tmp_path / "picture.png"
    call = [
        "bench",
        verb,
        "--task",
        "digits-mlp",
        "--rounds",
        "1",
        "--rows",
        "120",
        "--epochs",
        "1",
        "-o",
        str(picture),
    ]
    found = CliRunner().invoke(app, [*call, "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["tasks"][0]["task"] == "digits-mlp"
    assert picture.stat().st_size > 5000
    found = CliRunner().invoke(app, call)
    assert found.exit_code == 0, found.output
    assert "cohort" in found.stdout


def test_command_space_asks_first(tmp_path):
    found = CliRunner().invoke(app, ["bench", "space", "-o", str(tmp_path / "picture.doc")])
    assert found.exit_code != 0
    assert ".png" in str(found.exception) or ".png" in found.output


def test_kernels(tmp_path):
    picture = tmp_path / "kernels.png"
    call = ["bench", "kernels", "relu", "gelu", "--elements", "4096", "--rounds", "2", "-o", str(picture)]
    found = CliRunner().invoke(app, [*call, "--json"])
    assert found.exit_code == 0, found.output
    rows = {row["name"]: row for row in json.loads(found.stdout)["rows"]}
    assert rows["relu"]["transcendentals"] == 0
    assert rows["gelu"]["transcendentals"] > 0
    assert rows["gelu"]["bytes_kept"] == 4  # x alone, in float32
    assert picture.stat().st_size > 5000
    assert [row["name"] for row in json.loads(found.stdout)["references"]] == ["F.relu", "F.silu"]
    rows_file = tmp_path / "kernels.csv"
    printed = CliRunner().invoke(app, [*call[:-1], str(rows_file)]).stdout
    assert "gelu" in printed
    assert "F.silu" in printed
    assert rows_file.read_text().startswith("name,elements,")
    assert rows_file.read_text().count("\n") == 3


def test_kernels_far_from_their_limit_come_first():
    from nonlin.benchmarks.kernels import Reference, Row, summary, worst

    rows = [
        Row("fast", 10, 1.0, 1.0, 1.0, 1.0, 2, 4), Row("slow", 10, 9.0, 4.0, 9.0, 3.0, 4, 8),
        Row("middle", 10, 2.0, 1.2, 2.0, 1.31, 1, 4), Row("other", 20, 2.0, 1.1, 2.0, 2.0, 6, 4),
    ]  # fmt: skip
    known = [Reference(name, size, 1.0, limit, limit) for size in (10, 20) for name, limit in
             (("F.relu", 1.5), ("F.silu", 1.7))]  # fmt: skip
    assert [row.name for row in worst(rows, 2)] == ["slow", "middle", "other"]
    ten, twenty = summary(rows, known)
    assert (ten.functions, ten.within, ten.single, ten.cheap) == (3, 1, 2, 1)
    assert (ten.median_over_silu, ten.median_over_limit, ten.silu_over_limit, ten.bytes_kept) == (1.2, 1.31, 1.7, 8)
    assert (twenty.functions, twenty.within, twenty.single) == (1, 0, 0)


def test_kernels_of_an_unknown_function():
    assert CliRunner().invoke(app, ["bench", "kernels", "geluu"]).exit_code != 0
