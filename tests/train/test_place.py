"""Devices and precisions: chosen, refused in one message, and near to float32."""

import pytest
import torch
from small_networks import PLAIN, with_budget

import nonlin as nl
from nonlin.errors import TrainingError
from nonlin.train import fit
from nonlin.train.memory import shortage
from nonlin.train.place import CPU, Place, place


def test_the_budget_is_asked_unless_told_otherwise():
    assert place(nl.Budget(device="cpu")) == CPU
    assert place(nl.Budget(device="cpu", precision="bfloat16")) == CPU  # a GPU's setting
    assert place(nl.Budget(device="cpu"), precision="bfloat16").precision == "bfloat16"
    assert place(nl.Budget(device="cuda"), "cpu") == CPU


def test_auto_takes_the_best_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert place(nl.Budget()).device.type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert place(nl.Budget()).device.type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = place(nl.Budget(precision="bfloat16"))
    assert (found.device.type, found.precision) == ("cuda", "bfloat16")


@pytest.mark.parametrize(
    ("device", "message"),
    [("cuda", "device='cuda' is not there"), ("gpu", "device='gpu' is no device"), ("meta", "is not there"),
     ("cuda:7", "device='cuda:7' is not there")],
)  # fmt: skip
def test_no_such_device(device, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(TrainingError, match=message) as caught:
        fit(PLAIN, "relu", device=device)
    assert "cpu" in str(caught.value)


def test_too_few_gpus_says_how_many(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TrainingError, match="has 2 CUDA devices, cuda:0 to cuda:1"):
        place(nl.Budget(), "cuda:2")


def test_no_such_precision():
    with pytest.raises(TrainingError, match="precision='fp16' is not one of float32, bfloat16, float16"):
        fit(PLAIN, "relu", precision="fp16")


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_mixed_precision_is_near_and_not_the_same(precision, tolerance):
    exact, mixed = fit(PLAIN, "silu", final=True), fit(PLAIN, "silu", final=True, precision=precision)
    assert mixed.status == "ok"
    assert mixed.loss == pytest.approx(exact.loss, rel=tolerance)
    assert mixed.loss != exact.loss
    assert mixed.test_loss == pytest.approx(exact.test_loss, rel=tolerance)


def test_float16_keeps_gradients_that_would_be_rounded_to_zero():
    # a loss of 1e-5 per row has gradients below float16's least number 6e-8 without the scaling
    small = with_budget(PLAIN, epochs=1, optimizer="sgd", learning_rate=1e-3)
    exact, mixed = (fit(small, "relu", precision=precision) for precision in ("float32", "float16"))
    assert mixed.loss == pytest.approx(exact.loss, rel=1e-3)


def test_too_little_memory_says_what_to_do():
    budget = nl.Budget(batch_size=256)
    on_gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    found = shortage(on_gpu, budget, CPU)
    assert "too little memory on cpu" in found
    assert "--accumulate 2" in found
    assert "--accumulate 8" in shortage(MemoryError(), budget, CPU, accumulate=4)
    assert "smaller model" in shortage(MemoryError(), budget, CPU, accumulate=256)
    assert shortage(RuntimeError("shapes do not fit"), budget, CPU) == ""


def test_a_shortage_is_a_result_with_its_remedy():
    def build(act):
        class Hungry(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner, self.act = torch.nn.Linear(6, 3), act()

            def forward(self, x):
                if self.training:
                    torch.empty(2**60)
                return self.act(self.inner(x))

        return Hungry()

    outcome = fit(nl.Task(name="hungry", build=build, data=PLAIN.data, budget=PLAIN.budget), "relu")
    assert outcome.status == "failed"
    assert "too little memory on cpu: pass the batch of 16 in 2 parts" in outcome.error


def test_the_scaler_belongs_to_float16_alone():
    assert Place().scaler() is None
    assert Place(precision="bfloat16").scaler() is None
    assert Place(precision="float16").scaler() is not None
