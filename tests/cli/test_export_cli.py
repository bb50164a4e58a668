"""`nonlin export`."""

import json
import sys

import pytest
import torch


def test_torch_file(run, tmp_path):
    path = tmp_path / "swish.py"
    code, out, err = run("export", "swish", "--to", "torch", "-o", path, "--set", "beta=1.5")
    assert (code, err) == (0, "")
    assert str(path) in out
    namespace = {}
    exec(path.read_text(), namespace)
    x = torch.tensor([-1.0, 2.0])
    torch.testing.assert_close(namespace["Swish"]()(x), x * torch.sigmoid(1.5 * x))


@pytest.mark.parametrize(
    ("target", "part"),
    [("latex", r"f(x) = x \, \tanh"), ("c", "double nl_"), ("jax", "jnp.tanh"), ("keras", "ops.tanh")],
)
def test_text(run, target, part):
    code, out, _ = run("export", "x*tanh(x)", "--to", target)
    assert code == 0
    assert part in out


def test_fixed_and_trainable(run):
    assert "double nl_swish(double x)" in run("export", "swish", "--to", "c")[1]
    assert "double nl_swish(double x, double beta)" in run("export", "swish", "--to", "c", "--trainable")[1]
    assert "nn.Parameter" not in run("export", "swish", "--fixed")[1]


def test_json(run):
    found = json.loads(run("export", "gelu", "--to", "latex", "--json")[1])
    assert found["target"] == "latex"
    assert found["text"].startswith("f(x) = ")
    assert found["path"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relu", "--to", "tourch"), "Did you mean 'torch'"),
        (("rleu",), "unknown activation 'rleu'"),
        (("swish", "--set", "beta"), "not NAME=NUMBER"),
        (("swish", "--set", "gamma=1"), "has no parameter 'gamma'"),
        (("relu", "--to", "onnx"), "-o model.onnx"),
        (("relu", "-o", "/no/such/folder/f.py"), "cannot write"),
    ],
)
def test_errors(run, arguments, message):
    code, out, err = run("export", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_missing_extra(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = run("export", "relu", "--to", "onnx", "-o", tmp_path / "f.onnx")
    assert code == 2
    assert "pip install 'nonlin[onnx]'" in err
