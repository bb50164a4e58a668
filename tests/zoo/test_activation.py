"""Activations as users meet them: names, formulas, calls, derivatives, identity, registration."""

import math
import pickle

import numpy as np
import pytest
import torch

import nonlin as nl
from nonlin.errors import CatalogueError, FormulaError, NonlinError, UnknownNameError
from nonlin.zoo.catalogue import Catalogue, catalogue, load_file, read_entries
from nonlin.zoo.recognise import recognise


@pytest.fixture(autouse=True)
def _leave_no_registrations():
    known = catalogue()
    entries, keys = dict(known.entries), dict(known._keys)
    yield
    known.entries, known._keys = entries, keys


def test_the_contract():
    f = nl.activation("x * sigmoid(beta*x)", beta=1.0)
    assert f.name == "x*sigmoid(beta*x)"
    swish = nl.activation("Swish")
    assert (swish.name, swish.formula, swish.parameters) == ("swish", "x*sigmoid(beta*x)", {"beta": 1.0})
    assert f.same_as("swish")
    assert nl.activation("max(x,0)").same_as("relu")
    assert not swish.same_as("silu")
    assert nl.activation("x/(1+exp(-x))").same_as("silu")
    assert nl.zoo.names() == sorted(nl.zoo.names())
    assert len(nl.zoo.names()) >= 90


@pytest.mark.parametrize("spelling", ["SiLU", "si-lu", " silu ", "SILU"])
def test_spellings(spelling):
    assert nl.activation(spelling).name == "silu"


def test_values_keep_type_shape_and_dtype():
    f = nl.activation("silu")
    one = f(1.0)
    assert type(one) is float
    assert one == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-15)
    assert type(f(2)) is float
    for dtype in (np.float64, np.float32, np.float16):
        y = f(np.ones((2, 3), dtype=dtype))
        assert isinstance(y, np.ndarray)
        assert (y.shape, y.dtype) == ((2, 3), np.dtype(dtype))
    assert f(np.float32(1)).dtype == np.float32
    assert f(np.array([1, 2])).dtype == np.float64
    assert f(np.array(1.0)).shape == ()
    x = torch.randn(3, 2, requires_grad=True)
    y = f(x)
    assert isinstance(y, torch.Tensor)
    assert y.shape == x.shape
    y.sum().backward()
    assert torch.allclose(x.grad, f.derivative()(x.detach()))
    assert f(torch.tensor([1, 2])).dtype == torch.float32


def test_array_is_not_changed_or_shared():
    x = np.array([1.0, -1.0])
    y = nl.activation("x")(x)
    y[0] = 7
    assert x.tolist() == [1.0, -1.0]


def test_parameters_at_the_call():
    f = nl.activation("swish")
    assert f(1.0, beta=0.0) == 0.5
    assert f(torch.ones(2), beta=torch.tensor([0.0, 100.0])).tolist() == pytest.approx([0.5, 1.0])
    with pytest.raises(NonlinError, match=r"no parameter 'alpha'.*beta"):
        f(1.0, alpha=2.0)


@pytest.mark.parametrize("value", ["a", None, [1, "b"], object()])
def test_values_that_are_not_numbers(value):
    with pytest.raises(NonlinError, match="real numbers"):
        nl.activation("relu")(value)


def test_derivative():
    slope = nl.activation("swish", beta=2.0).derivative()
    assert slope.parameters == {"beta": 2.0}
    assert slope(0.0) == 0.5
    assert nl.activation("swish").derivative("beta")(0.0) == 0.0
    with pytest.raises(NonlinError, match="no parameter 'gamma'"):
        nl.activation("swish").derivative("gamma")


def test_constants_and_initial_values():
    assert nl.activation("leaky_relu")(-1.0) == -0.01
    assert nl.activation("leaky_relu", alpha=0.2)(-1.0) == -0.2
    assert nl.activation("swish", beta=0.5).parameters == {"beta": 0.5}
    assert nl.activation(nl.activation("swish"), beta=0.5).parameters == {"beta": 0.5}
    with pytest.raises(CatalogueError, match="relu has no parameter 'beta'; it has: none"):
        nl.activation("relu", beta=1.0)
    with pytest.raises(NonlinError, match="no parameter 'alpha'"):
        nl.activation("x*sigmoid(beta*x)", alpha=1.0)
    for bad in (math.nan, "1", True, None):
        with pytest.raises(NonlinError, match="not a finite number"):
            nl.activation("swish", beta=bad)


@pytest.mark.parametrize(("formula", "value"), [("-x", -2.0), ("x-1", 1.0), ("x - x", 0.0), ("-x-x", -4.0), ("x", 2.0)])
def test_short_formulas_are_not_names(formula, value):
    assert nl.activation(formula)(2.0) == value


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("swich", UnknownNameError, "Did you mean 'swish'"),
        ("no_such_thing", UnknownNameError, "nonlin list"),
        ("leeky-relu", UnknownNameError, "leaky_relu|leaky relu|leakyrelu"),
        ("beta", UnknownNameError, "nonlin list"),
        ("", FormulaError, "empty"),
        ("x*foo(x)", FormulaError, "foo"),
        (3, CatalogueError, "got int 3"),
        (None, CatalogueError, "NoneType"),
    ],
)
def test_bad_specifications(spec, error, message):
    with pytest.raises(error, match=message):
        nl.activation(spec)


def test_pickle_and_hash():
    f = nl.activation("swish", beta=0.3)
    again = pickle.loads(pickle.dumps(f))
    assert again == f
    assert hash(again) == hash(f)
    assert again(1.0) == f(1.0)


def test_register():
    act = nl.register("my_act", "x*tanh(k*x)", parameters={"k": 2.0}, aliases=["mine"])
    assert nl.activation("MINE").parameters == {"k": 2.0}
    assert act == nl.activation("my_act")
    assert recognise(nl.activation("tanh(2*x)*x").expr)[0].name == "my_act"
    nl.register("my_act", "x*tanh(k*x)", parameters={"k": 2.0}, aliases=["mine"])  # the same again is fine
    with pytest.raises(CatalogueError, match="already known"):
        nl.register("my_act", "x")
    nl.register("my_act", "x", replace=True)
    assert nl.activation("my_act")(3.0) == 3.0
    with pytest.raises(CatalogueError, match="already belongs to 'relu'"):
        nl.register("ReLU", "x")
    with pytest.raises(CatalogueError, match="not a name"):
        nl.register("my act!", "x")
    with pytest.raises(CatalogueError, match="cannot read this formula"):
        nl.register("other", "x*foo(x)")
    with pytest.raises(CatalogueError, match="'b' does not occur"):
        nl.register("other", "x", parameters={"b": 1.0})
    with pytest.raises(CatalogueError, match="both a parameter and a constant"):
        nl.register("other", "b*x", parameters={"b": 1.0}, constants={"b": 1.0})


def test_recognition_names_rediscoveries():
    names = [str(known) for known in recognise(nl.activation("x*sigmoid(x)").expr)]
    assert names[0] == "silu"
    assert "swish with beta=1" in names
    assert recognise(nl.activation("x*sin(3*x)*tanh(x)").expr) == ()


def test_user_file(tmp_path, monkeypatch):
    folder = tmp_path / "nonlin"
    folder.mkdir()
    (folder / "activations.toml").write_text('[[activation]]\nname = "homemade"\nformula = "x*cos(x)*x"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    catalogue.cache_clear()
    try:
        assert nl.activation("homemade")(0.0) == 0.0
    finally:
        catalogue.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("activation = 3", "expected tables"),
        ("[other]\na=1", "'other'"),
        ("[[activation]\n", "not valid TOML"),
        ('[[activation]]\nname = "a"', r"activation 1 \(a\): 'formula' is missing"),
        ('[[activation]]\nformula = "x"', "without a name"),
        ('[[activation]]\nname = "a"\nformula = "x*"', "cannot read this formula"),
        ('[[activation]]\nname = "a"\nformula = "x"\ncolour = 1', "unknown key 'colour'"),
        ('[[activation]]\nname = "a"\nformula = "b*x"\nparameters = 3', "must be a table"),
        ('[[activation]]\nname = "a"\nformula = "b*x"\nparameters = {b = "1"}', "not a finite number"),
        ('[[activation]]\nname = "a"\nformula = "x"\naliases = "b"', "list of text"),
    ],
)
def test_broken_files_are_named(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(CatalogueError, match=message) as caught:
        load_file(path)
    assert "mine.toml" in str(caught.value)


def test_a_clash_names_the_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[activation]]\nname = "gelu"\nformula = "x"\n')
    with pytest.raises(CatalogueError, match=r"mine\.toml: 'gelu' is already known"):
        load_file(path)


@pytest.mark.parametrize("name", ["x", "pi", "cosh"])
def test_names_with_another_meaning(name):
    with pytest.raises(CatalogueError, match="means something else"):
        nl.register(name, "2*x")


def test_catalogue_names_are_not_functions_of_formulas():
    with pytest.raises(FormulaError, match=r"leaky_relu is an activation.*where\(x > 0, x, alpha\*x\)"):
        nl.activation("2*leaky_relu(x)")


def test_missing_file(tmp_path):
    with pytest.raises(CatalogueError, match="cannot read the activation file"):
        load_file(tmp_path / "none.toml")


def test_aliases_are_unique():
    row = '[[activation]]\nname="{}"\nformula="x"\naliases=["{}"]\n'
    rows = row.format("one", "same") + row.format("two", "Same")
    with pytest.raises(CatalogueError, match="already belongs to 'one'"):
        Catalogue(read_entries(rows, "test"))


@pytest.mark.parametrize("name", nl.zoo.names())
def test_every_entry_is_complete(name):
    entry = nl.zoo.entry(name)
    assert entry.source
    assert entry.remark
    act = nl.activation(name)
    assert nl.activation(act.formula).same_as(act)
    assert str(act)
    assert act.latex()
