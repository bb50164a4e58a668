"""A trained activation, and the network around it, in ONNX Runtime: python examples/onnx_runtime.py"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

import nonlin as nl

torch.manual_seed(0)
x = torch.linspace(-3, 3, 200).unsqueeze(1)
net = nn.Sequential(nn.Linear(1, 16), nl.activation("x*sigmoid(beta*x)").module(), nn.Linear(16, 1))
optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
for _ in range(300):
    loss = (net(x) - torch.sin(2 * x)).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
print(f"fitted sin(2x) to a mean square of {loss.item():.1e}; beta went from 1 to {net[1].beta.item():.3f}")


def run(path, values):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": values})[0]


with tempfile.TemporaryDirectory() as folder:
    file = str(Path(folder) / "act.onnx")
    nl.export(net[1], "onnx", file)  # the function alone, with the trained beta in it; every dimension is free
    wide = np.array([[-1e4, -30, -1, 0, 1, 30, 1e4]], np.float32)
    error = np.abs(run(file, wide) - net[1](torch.from_numpy(wide)).detach().numpy()).max()
    print(f"the activation over ±10⁴: outputs differ by {error:.1e}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather use its newer exporter: drop dynamo=False with onnxscript
        torch.onnx.export(net, (x,), file, input_names=["x"], dynamic_axes={"x": {0: "batch"}}, dynamo=False)
    error = np.abs(run(file, x[:7].numpy()) - net(x[:7]).detach().numpy()).max()
    print(f"the whole network, on a batch of another size: outputs differ by {error:.1e}")
