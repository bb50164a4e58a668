"""Training in two processes, importable by them; and what one process makes of the same batches."""

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import nonlin as nl
from nonlin.train.ranks import group

STEPS, BATCH = 3, 8


class Net(nn.Module):
    """A module and a call of an activation."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(1, 6, 3), nn.GELU(), nn.Linear(6 * 36, 3)
        self.middle = nn.Conv2d(6, 6, 1)

    def forward(self, images):
        return self.head(F.relu(self.middle(self.act(self.conv(images)))).flatten(1))


def net(act):
    model = Net()
    nl.swap(model, act, per="channel", example=torch.zeros(1, 1, 8, 8))
    return model


def vit(act, how="config"):
    from transformers import ViTConfig, ViTForImageClassification

    nl.hf.register()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    shape = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 3}
    model = ViTForImageClassification(ViTConfig(**sizes, **shape, hidden_act=_asked(act, "gelu", how)))
    return _swapped(model, act, how)


def gpt2(act, how="config"):
    from transformers import GPT2Config, GPT2LMHeadModel

    nl.hf.register()
    sizes = {"vocab_size": 20, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**sizes, **ends, **still, activation_function=_asked(act, "gelu_new", how)))
    return _swapped(model, act, how)


def _asked(act, usual, how):
    return f"nonlin:{act}" if how == "config" else act if how == "plain" else usual


def _swapped(model, act, how):
    if how == "swap":
        assert len(nl.swap(model, act)) == 2
    return model


MAKE = {
    "net": net, "vit": vit, "gpt2": gpt2,
    "vit swapped": partial(vit, how="swap"), "gpt2 swapped": partial(gpt2, how="swap"),
}  # fmt: skip


def batch(kind, step):
    """(keyword or None, input, targets), the same in every process."""
    generator = torch.Generator().manual_seed(step)
    if kind.startswith("gpt2"):
        text = torch.randint(0, 20, (BATCH, 12), generator=generator)
        return "input_ids", text, text.roll(-1, dims=1)
    images = torch.randn(BATCH, 1, 8, 8, generator=generator)
    return (None if kind == "net" else "pixel_values"), images, torch.randint(0, 3, (BATCH,), generator=generator)


def outputs(model, word, given):
    """Logits, (..., classes)."""
    return model(given) if word is None else model(**{word: given}).logits


def train(model, kind, share=slice(None), half=False):
    """A few steps on a share of each batch; the losses."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for step in range(STEPS):
        word, given, targets = batch(kind, step)
        with torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext():
            logits = outputs(model, word, given[share])
            loss = F.cross_entropy(logits.float().flatten(0, -2), targets[share].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def made(kind, act, **keywords):
    torch.manual_seed(0)
    return MAKE[kind](act, **keywords)


def process(rank, folder, runs):
    """One of two processes: trains every model of `runs`, (kind, activation, half), on its half of each batch."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2):
        for number, (kind, act, half) in enumerate(runs):
            model = made(kind, act)
            share = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
            losses = train(DistributedDataParallel(model), kind, share, half)
            word, given, _ = batch(kind, STEPS)
            with torch.no_grad():
                after = outputs(model.eval(), word, given)
            state = {"state": model.state_dict(), "after": after, "losses": losses}
            torch.save(state, Path(folder) / f"{number}-{rank}.pt")


def results(folder, runs):
    """[what process 0 saved, what process 1 saved] for each run."""
    torch.multiprocessing.spawn(process, (str(folder), runs), nprocs=2)
    return [[torch.load(Path(folder) / f"{n}-{rank}.pt") for rank in (0, 1)] for n in range(len(runs))]


def check(run, both):
    """Both processes hold one model, the one that a single process makes of the whole batches, and it loads."""
    kind, act, half = run
    for name, value in both[0]["state"].items():
        assert torch.equal(value, both[1]["state"][name]), name
    alone = made(kind, act)
    losses = train(alone, kind, half=half)
    averages = torch.tensor([both[0]["losses"], both[1]["losses"]]).mean(dim=0)
    loose = {"rtol": 0.03, "atol": 0.03} if half else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(averages, torch.tensor(losses), **loose)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(
            both[0]["state"][name], value, **loose, msg=lambda text, name=name: f"{name}: {text}"
        )
    fresh = made(kind, act).eval()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    moved = [name for name, value in before.items() if not torch.equal(value, both[0]["state"][name])]
    assert sum("beta" in name for name in moved) == 2  # the new parameters train
    fresh.load_state_dict(both[0]["state"])
    word, given, _ = batch(kind, STEPS)
    with torch.no_grad():
        torch.testing.assert_close(outputs(fresh, word, given), both[0]["after"], rtol=0, atol=0)
