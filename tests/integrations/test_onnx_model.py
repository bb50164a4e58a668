"""A whole swapped model in ONNX Runtime, by torch's own exporters."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nonlin as nl


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(1, 4, 3), nn.GELU(), nn.Linear(4 * 36, 3)

    def forward(self, images):
        return self.head(F.relu(self.act(self.conv(images))).flatten(1))


# expm1 is not among the operators of ONNX: the newer exporter takes it apart, the older one refuses
@pytest.mark.filterwarnings("ignore")  # each exporter warns of itself
@pytest.mark.parametrize(
    ("act", "newer"),
    [("swish", False), ("x*tanh(softplus(k*x))", False), ("swish", True), ("where(x<0,expm1(k*x),x)", True)],
)
def test_a_swapped_model(act, newer, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    if newer and not importlib.util.find_spec("onnxscript"):
        pytest.skip("torch's newer exporter needs onnxscript")
    torch.manual_seed(0)
    model, images = Net().eval(), torch.randn(5, 1, 8, 8)
    nl.swap(model, act, per="channel", example=images)
    for name, parameter in model.named_parameters():
        if name.endswith(("beta", ".k")):
            nn.init.uniform_(parameter, 0.5, 1.5)
    path = str(tmp_path / "model.onnx")
    free = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if newer else {"dynamic_axes": {"x": {0: "batch"}}}
    torch.onnx.export(model, (images[:2],), path, input_names=["x"], dynamo=newer, **free)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {"x": images.numpy()})
    np.testing.assert_allclose(given, model(images).detach().numpy(), rtol=1e-4, atol=1e-5)
