"""The recorder over training steps, and a task's network before and after its training."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nonlin.diagnosis import Recorder, diagnose, diagnose_task
from nonlin.errors import DiagnosisError, NonlinError
from nonlin.tasks import TASKS
from nonlin.tasks.pictures.digits import DIGITS_MLP

QUICK = replace(DIGITS_MLP, name="quick", budget=replace(DIGITS_MLP.budget, epochs=2))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 6, generator=generator)
    return x, (x.sum(dim=1) > 0).long()


def run(model, steps, optimizer=None, after=lambda: None):
    """Plain training; yields gradients and weights of the first layer at each step."""
    x, y = data()
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        before, gradient = model[0].weight.detach().clone(), model[0].weight.grad.clone()
        optimizer.step()
        after()
        seen.append((before, gradient, model[0].weight.detach() - before))
    return seen


def test_series_hold_what_really_happened():
    model = network()
    with Recorder(model, every=3) as recorder:
        seen = run(model, 10)
    record = recorder.record
    assert record.steps == [0, 3, 6, 9]
    for place, step in enumerate(record.steps):
        before, gradient, update = seen[step]
        assert record.series["gradient"]["0"][place] == pytest.approx(float(gradient.square().mean().sqrt()), rel=1e-5)
        assert record.series["update"]["0"][place] == pytest.approx(float(update.norm() / before.norm()), rel=1e-4)
    assert list(record.series["gradient"]) == ["0", "2", "4"]
    assert set(record.series["dead"]) == {"1", "3"}


def test_activations_agree_with_a_diagnosis():
    model = network()
    layer = diagnose(model, data()).layers[0]
    with Recorder(model, every=1) as recorder:
        run(model, 1)
    for quantity in ("dead", "saturated", "mean", "std"):
        assert recorder.record.series[quantity]["1"][0] == pytest.approx(getattr(layer, quantity), abs=1e-6)


def test_training_is_the_same_with_and_without():
    plain, watched = network(), network()
    run(plain, 7)
    random = torch.get_rng_state()
    with Recorder(watched, every=2):
        run(watched, 7)
    assert torch.equal(torch.get_rng_state(), random)
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in watched.modules())
    count = 0

    def forward_of_watched():
        nonlocal count
        count += 1

    run(watched, 2, after=forward_of_watched)  # no hook is left behind that would record
    assert count == 2


def test_evaluation_and_other_optimizers_are_not_counted():
    model, other = network(), network()
    x, _ = data()
    with Recorder(model, every=1) as recorder:
        model.eval()
        model(x)
        model.train()
        with torch.no_grad():
            model(x)
        run(other, 3)
        assert recorder.record.steps == []
        run(model, 2)
        assert recorder.record.steps == [0, 1]


def test_gradient_accumulation_and_shared_layers():
    model = network()
    model[3] = model[1]
    x, y = data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Recorder(model, every=1) as recorder:
        for half in (slice(0, 16), slice(16, 32)):
            (F.cross_entropy(model(x[half]), y[half]) / 2).backward()
        whole = model[0].weight.grad.clone()
        optimizer.step()
    series = recorder.record.series
    assert series["gradient"]["0"] == pytest.approx([float(whole.square().mean().sqrt())], rel=1e-5)
    assert set(series["mean"]) == {"1", "1 #2"}
    assert all(len(values) == 1 for values in series["mean"].values())


def test_a_loop_without_torch_optimizers():
    model = network()
    x, y = data()
    with Recorder(model, every=1) as recorder:
        for _ in range(3):
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
            recorder.step()
    series = recorder.record.series
    expected = [0.1 * g * math.sqrt(48) for g in series["gradient"]["0"]]
    norms = [u / e for u, e in zip(series["update"]["0"], expected, strict=True)]
    assert recorder.record.steps == [0, 1, 2]
    assert norms[0] == pytest.approx(1 / float(network()[0].weight.detach().norm()), rel=1e-4)
    model = network()
    with Recorder(model, every=1) as recorder:
        run(model, 3, after=recorder.step)  # counts once all the same
    assert recorder.record.steps == [0, 1, 2]


def test_diagnose_while_recording_leaves_the_record_alone():
    model = network()
    with Recorder(model, every=1) as recorder:
        run(model, 1)
        optimizer = torch.optim.Adam(model.parameters())
        model(data()[0])
        diagnose(model, data(), optimizer=optimizer)
        assert len(recorder.record.series["mean"]["1"]) == 2
        assert recorder.record.steps == [0, 1]


def test_text_json_and_pictures(tmp_path):
    model = network()
    with Recorder(model, every=2) as recorder:
        run(model, 6)
    kept = json.loads(json.dumps(recorder.as_dict(), allow_nan=False))
    assert kept["steps"] == [0, 2, 4]
    assert all(len(values) == 3 for layers in kept.values() if isinstance(layers, dict) for values in layers.values())
    assert "|update|/|weight|: first" in str(recorder)
    recorder.plot(tmp_path / "r.svg")
    assert (tmp_path / "r.svg").read_text().count('<g id="axes_') == 6
    recorder.plot(tmp_path / "g.png", "gradient")
    with pytest.raises(NonlinError, match="cannot draw 'entropy'"):
        recorder.plot(tmp_path / "g.png", "entropy")
    Recorder(model).plot(tmp_path / "empty.png")


def test_bad_input():
    with pytest.raises(DiagnosisError, match="got int 3"):
        Recorder(3)
    with pytest.raises(DiagnosisError, match="every=0"):
        Recorder(network(), every=0)
    with Recorder(network()) as recorder, pytest.raises(DiagnosisError, match="watching already"):
        recorder.__enter__()


# A task's network


def test_a_task_before_and_after_training():
    found = diagnose_task("swish", QUICK, seed=3)
    from nonlin.train import fit

    reference = fit(QUICK, "swish", seed=3)
    assert found.outcome.score == reference.score  # watching changes nothing
    assert found.outcome.loss == reference.loss
    assert found.trained.loss < found.initial.loss
    before, after = (diagnosis.layers[0].parameters["beta"] for _, diagnosis in found.diagnoses())
    assert (before.mean, before.std) == (1.0, 0.0)
    assert after.std > 1e-4
    assert len(found.recorder.record.steps) > 5
    json.dumps(found.as_dict(), allow_nan=False)
    assert "AFTER TRAINING (trained for 2 epochs" in str(found)


def test_speeds_of_learning_are_those_of_the_tasks_own_optimizer():
    """Adam's first step moves every weight by the rate, whatever its gradient: its norm is rate·√n."""
    found = diagnose_task("tanh", QUICK, seed=3)
    assert found.initial.update == "updates are the next step of Adam"
    for matrix in found.initial.weights:
        step = QUICK.budget.learning_rate * math.sqrt(math.prod(matrix.shape)) / matrix.weight_norm
        assert matrix.update_ratio == pytest.approx(step, rel=0.05)
    # after training Adam knows its gradients' history: steps are shorter than a first one
    assert found.trained.update == found.initial.update
    fresh = QUICK.budget.learning_rate * math.sqrt(math.prod(found.trained.weights[0].shape))
    assert 0 < found.trained.weights[0].update_ratio * found.trained.weights[0].weight_norm < 0.9 * fresh


def test_a_schedule_that_ends_at_0_leaves_a_speed_after_training():
    task = replace(QUICK, budget=replace(QUICK.budget, schedule="cosine"))
    found = diagnose_task("tanh", task)
    assert all(matrix.update_ratio > 1e-4 for matrix in found.trained.weights)


def test_initial_only_and_selus_own_protocol():
    found = diagnose_task("selu", TASKS["digits-mlp"], train=False, protocol="selu")
    assert found.trained is None
    assert "AFTER" not in str(found)
    weights = found.initial.weights[1]
    assert weights.values.std == pytest.approx(1 / math.sqrt(64), rel=0.05)
    with pytest.raises(NonlinError, match="protocol='klambauer'"):
        diagnose_task("selu", protocol="klambauer")
