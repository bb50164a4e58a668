"""When an adaptive layer looks at its data, and what it keeps: steps, copies, state, samples, processes."""

import copy
import math
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch
from adaptive_layers import MODES, normal, see, trained
from torch import nn
from torch.utils.checkpoint import checkpoint

import nonlin as nl
from nonlin.nn import Adaptive


@pytest.mark.parametrize("mode", MODES)
def test_eval_is_frozen_and_deterministic(mode):
    model, _, _ = trained(mode)
    model.eval()
    state = copy.deepcopy(model.state_dict())
    x = normal(64, 4, seed=1)
    first = model(x)
    for _ in range(3):
        torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1).step()
        assert torch.equal(model(x), first)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


@pytest.mark.parametrize("mode", MODES)
def test_resuming_from_a_state_dict_continues_exactly(mode):
    model, optimizer, run = trained(mode, steps=17)
    other, other_optimizer, _ = trained(mode, steps=0)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    other_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert run(25) == run(25, model=other, optimizer=other_optimizer)
    assert int(other[1].correction.steps) == 42
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_copies_and_pickles_adapt_on_their_own(mode):
    model, _, _ = trained(mode)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        x = normal(64, 4)
        assert torch.equal(again(x), model(x))
        optimizer = torch.optim.SGD(again.parameters(), lr=0.0)
        before = int(again[1].correction.steps)
        again(x).sum().backward()
        optimizer.step()
        assert int(again[1].correction.steps) == before + 1


@pytest.mark.parametrize("mode", MODES)
def test_adapts_and_learns(mode):
    model, _, run = trained(mode, steps=0)
    losses = run(60)
    assert losses[-1] < 0.7 * losses[0]
    correction = model[1].correction
    assert int(correction.steps) == 60
    # 5, 20 and each tenth; the Hermite form also looks at the first step
    assert int(correction.updates) == (7 if mode == "entropy" else 8)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_optimiser_steps_are_counted_not_forwards(use_reentrant):
    model, optimizer, _ = trained(steps=4)
    x = normal(256, 4).requires_grad_()
    correction = model[1].correction
    for _ in range(3):  # gradient accumulation, with activation checkpointing
        checkpoint(model, x, use_reentrant=use_reentrant).sum().backward()
    assert int(correction.steps) == 4
    assert not correction.lines.any()
    optimizer.step()
    assert int(correction.steps) == 5
    assert correction.lines.any()
    nl.nn.step(model)  # the optimiser's own hook was faster; nothing new was seen
    assert int(correction.steps) == 5


def test_own_loops_tell_of_their_steps():
    model = nn.Sequential(Adaptive("relu"))
    for _ in range(5):
        model(normal(512))
        nl.nn.step(model)
    assert int(model[0].correction.updates) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", ["dead", "constant", "nan", "inf", "heavy"])
def test_useless_statistics_are_skipped(mode, batch):
    layer = see(Adaptive("relu", mode=mode), normal(4096))
    before = copy.deepcopy(layer.state_dict())
    x = {
        "dead": torch.full((512,), -1.0),
        "constant": torch.full((512,), 3.3333),
        "nan": torch.tensor([1.0, math.nan, 2.0, 3.0]),
        "inf": torch.tensor([1.0, math.inf, 2.0, 3.0]),
        "heavy": normal(4096) / normal(4096, seed=1).abs() ** 2,
    }[batch]
    see(layer, x, steps=50)
    after = layer.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    if batch != "heavy":
        same = [torch.equal(before[name], after[name]) for name in before if not name.endswith("steps")]
        assert all(same)
    fresh = see(Adaptive("relu", mode=mode), torch.full((512,), -1.0))
    assert int(fresh.correction.updates) == 0


def test_samples_are_spread_over_channels():
    from nonlin.nn.adaptive_schedule import SAMPLE, pick_values

    columns = torch.arange(256).repeat(64 * 32).float()  # (batch·positions, 256)
    picked = pick_values(columns.reshape(2048, 256))
    assert len(picked) == SAMPLE
    assert torch.bincount(picked.long(), minlength=256).min() >= 16
    assert len(pick_values(columns[:100])) == 100


TWO_RANKS = """
    import os, sys, torch
    import torch.distributed as dist
    import torch.multiprocessing as mp
    from nonlin.nn import Adaptive, KANLinear

    def data():
        return torch.randn(2, 600, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([[[1.0]], [[2.0]]])

    def run(layer, x):
        for _ in range(5):
            layer(x)
            layer.step()
        return layer.state_dict()

    def layers():
        torch.manual_seed(0)
        return [Adaptive("gelu"), Adaptive("relu", mode="learned"), Adaptive("gelu", mode="entropy-init"),
                KANLinear(3, 2)]

    def worker(rank, path):
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
        merged = [run(layer, data()[rank]) for layer in layers()]
        dist.destroy_process_group()
        alone = [run(layer, data().reshape(-1, 3)) for layer in layers()]
        for a, b in zip(merged, alone, strict=True):
            for name in a:
                torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)
            if "correction.weights" in a:
                assert torch.equal(a["correction.weights"], b["correction.weights"])

    if __name__ == "__main__":
        mp.spawn(worker, (sys.argv[1],), nprocs=2)
"""


def test_statistics_of_two_processes_are_those_of_one(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(textwrap.dedent(TWO_RANKS))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "meeting")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
