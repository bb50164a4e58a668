"""What is exported computes what we compute: every function of the catalogue in every target.

Values are held against ours in float64. How far a float32 result may be off is a few units in the last place
times the function's own condition, |f| + |x·f'| and the like for the parameters.
"""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.errors import ExportError, MissingExtraError, NonlinError
from nonlin.exporters import TARGETS
from nonlin.exporters.source import identifier
from nonlin.exporters.spelling import SPELLINGS, expand
from nonlin.expr import Call, Symbol, walk
from nonlin.expr.operators import OPERATORS
from nonlin.expr.tree import call
from nonlin.nn import Adaptive

torch.set_num_threads(1)
NAMES = nl.zoo.names()
_SIZES = np.concatenate([np.logspace(-3, 4, 57), [0.5, 1.1, 2.7, 3.3, 17.9, 88.3]])
GRID = np.concatenate([-_SIZES[::-1], [0.0], _SIZES]).astype(np.float32)


def load(text, path):
    """The names that a generated Python file defines; nonlin is out of its reach."""
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "nonlin"}
    sys.modules["nonlin"] = None
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["nonlin"]
        sys.modules.update(hidden)
    return module


@cache
def truth(name, formula, parameters, order):
    """Of f or f' on the grid: the value v in float64, |x·v'|, and how far our own float32 is off nearby."""
    act = nl.activation(name)
    act = act.derivative() if order else act
    wide, narrow, step = torch.from_numpy(GRID).double(), torch.from_numpy(GRID), 1e-6
    value = act(wide).numpy()
    with np.errstate(all="ignore"):
        bend = (act(wide * (1 + step)) - act(wide * (1 - step))).abs().numpy() / (2 * step)
        error = np.nan_to_num(np.abs(act(narrow).double().numpy() - value), nan=0.0, posinf=0.0)
    around = np.pad(error, 3)
    near = np.max([around[k : k + len(error)] for k in range(7)], axis=0)
    return value, np.nan_to_num(bend, nan=0.0, posinf=0.0), near


def ours(act, order=0):
    return truth(act.name, act.formula, act.initial, order)


def check(got, act, single=True, order=0, units=32):
    """`got` on the grid is near our value, or our derivative for order 1."""
    wanted, bend, own = ours(act, order)
    got = np.asarray(got, dtype=np.float64)
    scale = np.abs(wanted) + bend + 2.0**-24
    allowed = units * (2.0**-23 if single else 2.0**-44) * scale + (4 * own if single else 0)
    compared = np.isfinite(wanted) & (np.abs(wanted) < 1e37)
    with np.errstate(all="ignore"):
        bad = compared & ~(np.abs(got - wanted) <= allowed)
    assert not bad.any(), list(zip(GRID[bad], got[bad], wanted[bad], allowed[bad], strict=True))[:5]
    assert compared.sum() > 60


# The table


def test_every_spelling_is_of_an_operator():
    assert set(SPELLINGS) <= set(OPERATORS)


@pytest.mark.parametrize("target", ["c", "jax", "keras", "onnx"])
def test_every_operator_can_be_written(target):
    """By its own code, or by a formula that ends in operators with code; the error names the two places."""
    letters = [Symbol("x"), Symbol("beta"), Symbol("gamma")]
    for name, row in OPERATORS.items():
        args = [2.0, letters[0]] if name == "spherical_j" else letters[: row.arity]
        for node in walk(expand(call(name, *args), target)):
            if isinstance(node, Call):
                assert not getattr(SPELLINGS[node.name], target).startswith("="), (name, node.name)


def test_an_operator_without_formula_and_spelling_is_named(monkeypatch):
    row = replace(OPERATORS["erf"], name="unheard_of")
    monkeypatch.setitem(OPERATORS, "unheard_of", row)
    with pytest.raises(ExportError, match=r"unheard_of cannot be written in c: .*operators\.py.*spelling\.py"):
        expand(call("unheard_of", Symbol("x")), "c")


# Torch


@pytest.mark.parametrize("name", NAMES)
def test_torch(name, tmp_path):
    act = nl.activation(name)
    made = load(nl.export(name, "torch"), tmp_path / "exported.py")
    torch.set_default_dtype(torch.float64)  # a parameter of 0.1 is not rounded to float32 first
    try:
        module = getattr(made, identifier(name, capital=True))()
    finally:
        torch.set_default_dtype(torch.float32)
    x = torch.from_numpy(GRID).double().requires_grad_()
    y = module(x)
    value, slope = ours(act)[0], ours(act, 1)[0]
    torch.testing.assert_close(y.detach().numpy(), value, rtol=1e-13, atol=1e-300, equal_nan=True)
    y.sum().backward()
    finite = np.isfinite(slope)
    torch.testing.assert_close(x.grad.numpy()[finite], slope[finite], rtol=1e-11, atol=1e-300)
    assert sum(p.numel() for p in module.parameters()) == len(act.parameters)
    mine = act.module()
    near = torch.tensor([-3.1, -0.4, 0.3, 2.2])
    module = getattr(made, identifier(name, capital=True))()
    if not act.parameters:
        near.requires_grad_()
    mine(near).sum().backward()
    module(near).sum().backward()
    for a, b in zip(module.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)
    assert module(near.detach().bfloat16()).dtype == torch.bfloat16


def test_torch_needs_no_nonlin_and_states_its_source(tmp_path):
    text = nl.export("gelu", "torch")
    assert "import nonlin" not in text
    assert "from nonlin" not in text
    assert "Hendrycks" in text
    assert float(load(text, tmp_path / "gelu.py").Gelu()(torch.tensor(1.0))) == pytest.approx(0.8413447)


def test_torch_saves_x_alone(tmp_path):
    made = load(nl.export("mish", "torch"), tmp_path / "exported.py")
    x, saved = torch.randn(1000, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        made.Mish()(x)
    assert saved == [1000]


def test_trained_parameters_per_channel(tmp_path):
    module = nl.activation("swish").module(per="channel", channels=3, dim=-1)
    with torch.no_grad():
        module.beta.copy_(torch.tensor([0.5, 1.7, -0.3]))
    x = torch.randn(4, 2, 3)
    made = load(nl.export(module, "torch"), tmp_path / "exported.py").Swish()
    torch.testing.assert_close(made(x), module(x))
    one = load(nl.export(module, "torch", channel=1), tmp_path / "one.py").Swish()
    torch.testing.assert_close(one(x[..., 1]), module(x)[..., 1])
    wide = type(one)(0.5, channels=3)
    assert wide.beta.shape == (3,)
    with pytest.raises(ExportError, match="channel=0"):
        nl.export(module, "c")
    with pytest.raises(ExportError, match="channel=5"):
        nl.export(module, "c", channel=5)


def test_names_that_clash(tmp_path):
    act = nl.activation("torch0*x + self*tanh(x) + half*x", torch0=0.5, half=2.0)
    made = load(nl.export(act, "torch"), tmp_path / "exported.py")
    x = torch.randn(5)
    torch.testing.assert_close(made.Activation()(x) if hasattr(made, "Activation") else find(made)(x), act(x))


def find(made):
    """The one module class of a generated file."""
    (kind,) = [
        v for v in vars(made).values() if isinstance(v, type) and issubclass(v, nn.Module) and v is not nn.Module
    ]
    return kind()


def test_an_adaptive_layer_is_frozen_first(tmp_path):
    torch.manual_seed(0)
    layer = Adaptive("relu", order=3, mode="learned", coefficients=[0.1, -0.2, 0.05])
    for _ in range(3):
        layer(torch.randn(500) * 2 + 1)
        layer.step()
    layer.eval()
    x = torch.linspace(-5, 5, 101)
    made = find(load(nl.export(layer, "torch"), tmp_path / "exported.py"))
    torch.testing.assert_close(made(x), layer(x), rtol=1e-5, atol=1e-5)


# LaTeX


@pytest.mark.parametrize("name", NAMES)
def test_latex(name):
    from matplotlib.mathtext import MathTextParser

    text = nl.export(name, "latex")
    assert text.startswith("f(x) = ")
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")
    if "cases" not in text:
        MathTextParser("path").parse(f"${text}$".replace(r"\text", r"\mathrm"))


def test_latex_shows_trained_values():
    assert nl.export(nl.activation("swish", beta=1.5), "latex") == (
        r"f(x) = x \, \sigma\left(\beta \, x\right), \quad \beta = 1.5"
    )


# C

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """All functions in one file, compiled with -O2 and without warnings."""
    folder = tmp_path_factory.mktemp("c")
    text = "\n".join(nl.export(name, "c") for name in NAMES)
    (folder / "all.c").write_text(text)
    command = [COMPILER, "-std=c99", "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "all.c", "-o", "all.so", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    return ctypes.CDLL(str(folder / "all.so"))


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
@pytest.mark.parametrize("name", NAMES)
def test_c(library, name):
    act = nl.activation(name)
    for suffix, kind in (("", ctypes.c_double), ("f", ctypes.c_float)):
        for order, ending in enumerate(("", "_dx")):
            function = getattr(library, f"nl_{identifier(name)}{ending}{suffix}")
            function.restype, function.argtypes = kind, [kind]
            check([function(float(x)) for x in GRID], act, suffix == "f", order, units=64)
            if not order:
                assert np.isnan(function(float("nan")))


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_c_with_arguments(tmp_path):
    act = replace(nl.activation("x*sigmoid(beta*x) + where(x > k, k, x)"), name="export test")
    (tmp_path / "f.c").write_text(nl.export(act, "c", trainable=True))
    subprocess.run([COMPILER, "-shared", "-fPIC", "f.c", "-o", "f.so", "-lm"], cwd=tmp_path, check=True)
    function = ctypes.CDLL(str(tmp_path / "f.so")).nl_export_test
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * 3
    assert function(2.0, 0.7, 1.5) == pytest.approx(2 / (1 + np.exp(-2 * 0.7)) + 1.5)


# JAX, Keras, ONNX: where they are installed


@pytest.fixture(scope="module")
def jax():
    return pytest.importorskip("jax")


@pytest.mark.parametrize("name", NAMES)
def test_jax(jax, name, tmp_path):
    act = nl.activation(name)
    made = load(nl.export(name, "jax"), tmp_path / "exported.py")
    function = next(v for k, v in vars(made).items() if callable(v) and not k.startswith("_"))
    values = list(act.parameters.values())
    check(jax.jit(function)(GRID), act, units=256)
    check(jax.jit(jax.vmap(jax.grad(function)))(GRID), act, order=1, units=512)
    near = np.array([-3.1, -0.4, 0.3, 2.2], np.float32)
    inputs = [torch.tensor(v, requires_grad=True) for v in values]
    if values:
        by = jax.grad(lambda p: function(near, *p).sum())(values)
        act(torch.from_numpy(near), **dict(zip(act.parameters, inputs, strict=True))).sum().backward()
        np.testing.assert_allclose([float(v) for v in by], [float(v.grad) for v in inputs], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


# inside keras itself, on torch with NumPy 2
KERAS_WARNS = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@KERAS_WARNS
@pytest.mark.parametrize("name", NAMES)
def test_keras(keras, name, tmp_path):
    act = nl.activation(name)
    made = load(nl.export(name, "keras"), tmp_path / "exported.py")
    kind = getattr(made, identifier(name, capital=True))
    layer = kind()
    check(keras.ops.convert_to_numpy(layer(GRID)), act, units=512)
    assert len(layer.trainable_weights) == len(act.parameters)
    again = kind.from_config(layer.get_config())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(GRID)), keras.ops.convert_to_numpy(layer(GRID)))


@KERAS_WARNS
def test_a_keras_model_is_saved_and_loaded(keras, tmp_path):
    made = load(nl.export(nl.activation("swish", beta=1.5), "keras"), tmp_path / "exported.py")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), made.Swish()])
    x = np.ones((2, 3), np.float32)
    before = keras.ops.convert_to_numpy(model(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(loaded(x)), before)


def session(model):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NAMES)
def test_onnx(name):
    pytest.importorskip("onnx")
    act = nl.activation(name)
    run = session(nl.export(name, "onnx", rank=1))
    (y,) = run.run(None, {"x": GRID})
    check(y, act, units=512)
    (y,) = run.run(None, {"x": np.array([np.nan], np.float32)})
    assert np.isnan(y[0])


@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (1, 2, 3, 4)])
def test_onnx_shapes_are_free(shape):
    pytest.importorskip("onnx")
    run = session(nl.export("x*tanh(x)", "onnx", rank=len(shape)))
    for times in (1, 3):
        x = np.ones((times * shape[0], *shape[1:]) if shape else (), np.float32)
        (y,) = run.run(None, {"x": x})
        np.testing.assert_allclose(y, np.full(x.shape, np.tanh(1)), rtol=1e-6)


def test_onnx_file_with_trainable_parameters(tmp_path):
    onnx = pytest.importorskip("onnx")
    nl.export(nl.activation("swish", beta=1.5), "onnx", tmp_path / "swish.onnx", trainable=True)
    model = onnx.load(tmp_path / "swish.onnx")
    assert [(i.name, i.float_data[0]) for i in model.graph.initializer if "beta" in i.name] == [("parameter_beta", 1.5)]
    (y,) = session(model).run(None, {"x": np.array([[2.0]], np.float32)})
    assert y[0, 0] == pytest.approx(2 / (1 + np.exp(-3)))


# Errors


def test_errors(tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="Did you mean 'onnx'"):
        nl.export("relu", "onxx")
    with pytest.raises(NonlinError, match="unknown activation"):
        nl.export("rleu", "c")
    with pytest.raises(ExportError, match="rank=-1"):
        nl.export("relu", "onnx", rank=-1)
    with pytest.raises(ExportError, match="got Linear"):
        nl.export(nn.Linear(2, 2), "torch")
    with pytest.raises(ExportError, match="cannot write"):
        nl.export("relu", "c", tmp_path / "missing" / "f.c")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nonlin\[onnx\]'"):
        nl.export("relu", "onnx")


def test_a_path_gets_the_text(tmp_path):
    text = nl.export("relu", "c", tmp_path / "relu.c")
    assert (tmp_path / "relu.c").read_text() == text


@pytest.mark.parametrize("place", ["src/nonlin/cli/exporting.py", "src/nonlin/cli/pipeline.py", "docs/ship.md"])
def test_every_target_is_named_where_users_look(place):
    text = (Path(__file__).parents[2] / place).read_text(encoding="utf-8")
    assert [target for target in TARGETS if not re.search(rf"\b{target}\b", text)] == []


def test_rank_is_for_onnx_alone():
    with pytest.raises(ExportError, match="rank=4 is of the input of an ONNX model; target 'c'"):
        nl.export("swish", "c", rank=4)


def test_an_untrained_adaptive_layer_leaves_no_zero_behind():
    assert nl.export(nl.nn.Adaptive("gelu"), "latex") == nl.export("x*Phi(x)", "latex")
