"""What an experiment costs, against counts by hand."""

import json
import math

import pytest
from torchvision_stub import torchvision_or_stub

from nonlin.errors import NonlinError
from nonlin.experiments import cells as cells_module
from nonlin.experiments import cost
from nonlin.experiments.costs import count
from nonlin.tasks import task


def test_mnist_by_hand():
    """Two operations for each multiplication and addition."""
    forward = 2 * (26 * 26 * 32 * 9 + 24 * 24 * 64 * 9 * 32 + 9216 * 128 + 128 * 10)
    parameters, found, step = count(task("mnist-cnn"))
    assert (parameters, found) == (1_199_882, forward)
    first = 2 * 26 * 26 * 32 * 9  # the gradient by the images is not needed
    assert step == 3 * forward - first
    whole = cost("relu-to-gelu")
    cell = whole.cells[0]
    assert cell.examples == 12 * 48_000
    assert cell.runs == 60
    assert cell.flops == 12 * 48_000 * step + (12 * 12_000 + 10_000) * forward
    assert whole.flops == 60 * cell.flops
    assert whole.hours == pytest.approx(60 * cell.flops / (0.4 * 19.5e12) / 3600)


@pytest.mark.parametrize(
    ("name", "operations", "examples"),
    [
        ("cifar10-wrn28x10", 10.5e9, 200 * 45_000),  # 5.2 billion multiplications, as is known of it
        ("cifar10-resnet164", 0.49e9, 181 * 45_000 + 288 * 128),  # 352 steps to an epoch, the last one small
        ("imagenet-vit-tiny", 2.5e9, 100 * 1_229_920),
    ],
)
def test_known_networks(name, operations, examples):
    experiment = "crrelu-vit" if "vit" in name else "swish-cifar"
    cell = cost(experiment, tasks=[name]).cells[0]
    assert cell.forward == pytest.approx(operations, rel=0.01)
    assert cell.step == pytest.approx(3 * cell.forward, rel=0.02)
    assert cell.examples == examples
    assert cell.parameters == task(name).parameters


def test_what_is_given_counts():
    base = cost("relu-to-gelu")
    assert cost("relu-to-gelu", seeds=5).hours == pytest.approx(base.hours / 2)
    assert cost("relu-to-gelu", gpu_tflops=39.0).hours == pytest.approx(base.hours / 2)
    assert cost("relu-to-gelu", utilisation=0.2).hours == pytest.approx(base.hours * 2)
    assert cost("relu-to-gelu", precision="bfloat16").hours == pytest.approx(base.hours * 19.5 / 312)
    with pytest.raises(NonlinError, match="utilisation is a share of the peak, above 0 and at most 1; got 40"):
        cost("relu-to-gelu", utilisation=40)
    with pytest.raises(NonlinError, match="gpu_tflops is a GPU's peak in TFLOPS, above 0; got -1"):
        cost("relu-to-gelu", gpu_tflops=-1)


def test_translation_needs_no_extra():
    cell = cost("swish-wmt14").cells[0]
    assert not cell.problem
    assert cell.parameters == 63_082_496
    assert cell.examples == pytest.approx(300_000 * 896, rel=1e-3)


def test_gpt2():
    pytest.importorskip("transformers")
    whole = cost("crrelu-dpo")
    cell = whole.cells[0]
    assert cell.parameters == 124_439_808
    # two answers through two models: two operations for each weight and token, and attention
    attention = 2 * 2 * 2 * 2 * 12 * 512 * 512 * 768
    assert cell.forward == pytest.approx(2 * 2 * 2 * (124_439_808 - 512 * 768) * 512 + attention, rel=0.02)
    assert cell.step == pytest.approx(2 * cell.forward)  # the frozen model goes forward alone


def test_timm():
    with torchvision_or_stub():
        pytest.importorskip("timm")
    cell = cost("swish-imagenet", tasks=["imagenet-mobilenetv1_100"]).cells[0]
    assert cell.forward == pytest.approx(1.14e9, rel=0.01)
    assert cell.step <= 3 * cell.forward


def test_a_missing_extra_is_a_row(monkeypatch, run_nonlin):
    monkeypatch.setattr(cells_module, "_installed", lambda package: False)
    whole = cost("swish-imagenet")
    assert all("pip install 'nonlin[timm]'" in cell.problem and math.isnan(cell.flops) for cell in whole.cells)
    assert whole.hours == 0
    assert "Networks that could not be built here are in no total." in whole.assumptions
    code, out, _ = run_nonlin("reproduce", "crrelu-dpo", "--dry-run")
    assert code == 0
    assert "pip install 'nonlin[hf]'" in out


@pytest.mark.parametrize("name", ["swish-table1", "swish-cifar", "crrelu-vit", "crrelu-dpo", "relu-to-gelu"])
def test_every_dry_run(name, run_nonlin, tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))  # no data are needed
    code, out, _ = run_nonlin("reproduce", name, "--dry-run", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["experiment"] == name
    counted = [cell for cell in found["cells"] if not cell["problem"]]
    assert all(cell["total_hours"] > 0 for cell in counted)
    assert counted or name == "crrelu-dpo"
    code, out, _ = run_nonlin("reproduce", name, "--dry-run")
    assert code == 0
    assert "nothing was trained" in out
    assert "GPU hours assume 40% of" in out
    assert not list(tmp_path.iterdir())
