"""Lightning: an exported file, and a swapped model, in a LightningModule."""

import importlib.util
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nonlin as nl


@pytest.fixture(scope="module")
def lightning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("lightning")


def exported(folder, act):
    """The module class of a standalone file."""
    nl.export(act, "torch", folder / "exported.py")
    spec = importlib.util.spec_from_file_location("exported", folder / "exported.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def swapped(_):
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    nl.swap(net, "swish", per="channel", example=torch.zeros(1, 4))
    return net


def standalone(folder):
    return nn.Sequential(nn.Linear(4, 16), exported(folder, "swish").Swish(channels=16), nn.Linear(16, 2))


@pytest.mark.filterwarnings("ignore")  # what Lightning says of loggers and workers
@pytest.mark.parametrize("build", [standalone, swapped])
def test_a_module_trains_and_its_checkpoint_loads(lightning, build, tmp_path):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = build(tmp_path)

        def training_step(self, batch, _):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.02)

    lightning.seed_everything(0, verbose=False)
    x = torch.randn(256, 4)
    data = torch.utils.data.TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long())
    trainer = lightning.Trainer(
        max_epochs=20, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    model = Module()
    trainer.fit(model, torch.utils.data.DataLoader(data, 32, shuffle=True))
    model.eval()
    with torch.no_grad():
        assert (model.net(x).argmax(1) == data.tensors[1]).float().mean() > 0.9  # a straight line reaches a half
    assert bool((model.net[1].beta != 1).all())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = Module.load_from_checkpoint(tmp_path / "model.ckpt").eval()
    torch.testing.assert_close(loaded.net(x), model.net(x), rtol=0, atol=0)
