"""Two processes with DistributedDataParallel (gloo) train what one process trains, and what they save loads."""

import pytest
import torch
import torch.distributed as dist
import two_processes
from torch import nn

import nonlin as nl

PLAIN = [("net", "swish", False), ("net", "swish", True)]
HUGGING_FACE = [
    (kind, "swish", half) for kind in ("vit", "gpt2", "vit swapped", "gpt2 swapped") for half in (False, True)
]


def test_a_swapped_model(tmp_path):
    for run, both in zip(PLAIN, two_processes.results(tmp_path, PLAIN), strict=True):
        two_processes.check(run, both)


def test_models_of_transformers(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for run, both in zip(HUGGING_FACE, two_processes.results(tmp_path, HUGGING_FACE), strict=True):
        two_processes.check(run, both)


def test_sharded_parameters(tmp_path):
    """FSDP2 takes parameters per channel, and refuses single numbers with a word on it."""
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        x = torch.randn(5, 3)
        nl.swap(model, "swish", per="channel", example=x)
        expected = model(x)
        expected.square().sum().backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        sharded = fully_shard(model)
        given = sharded(x)
        given.square().sum().backward()
        torch.testing.assert_close(given, expected)
        torch.testing.assert_close([p.grad.full_tensor() for p in sharded.parameters()], gradients)
        with pytest.raises(ValueError, match="scalar parameters"):
            fully_shard(nl.activation("swish").module())
    finally:
        dist.destroy_process_group()
