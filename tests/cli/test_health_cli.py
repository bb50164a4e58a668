"""`nonlin health`."""

import json

import pytest


def test_one_card(run):
    code, out, err = run("health", "gelu", "--no-cost")
    assert (code, err) == (0, "")
    assert "gelu: x*Phi(x)" in out
    assert "-0.17 (x = -0.7518) to ∞" in out
    assert "σ_w 1.481, σ_b 0.2592" in out
    assert "Not monotone: f' changes sign at x = -0.7518." in out
    assert "cost" not in out


def test_several_stand_side_by_side(run):
    code, out, _ = run("health", "relu", "selu", "x*tanh(x)", "--no-cost")
    assert code == 0
    header = out.splitlines()[0]
    assert all(name in header for name in ("relu", "selu", "x*tanh(x)"))
    assert "Self-normalising" in out
    assert "Dead for x < 0: |f'| < 0.001 on 50% of N(0,1)." in out


def test_cost_is_measured(run):
    found = json.loads(run("health", "softsign", "--json")[1])["cards"][0]
    assert found["cost"] > 0


def test_json_has_no_infinities(run):
    code, out, _ = run("health", "1/x", "step", "log(x)", "--json", "--no-cost")
    assert code == 0
    cards = json.loads(out, parse_constant=pytest.fail)["cards"]
    assert [card["bounded_below"] for card in cards] == [False, True, False]
    assert cards[1]["lipschitz"] is None
    assert cards[2]["undefined"] == [[None, 0.0]]


def test_parameters(run):
    found = json.loads(run("health", "swish", "relu", "--set", "beta=2", "--json", "--no-cost")[1])["cards"]
    assert found[0]["parameters"] == {"beta": 2.0}
    assert found[0]["lower"] == pytest.approx(-0.13923227)
    assert found[1]["parameters"] == {}
    constant = json.loads(run("health", "leaky_relu", "--set", "alpha=0.3", "--json", "--no-cost")[1])["cards"][0]
    assert constant["formula"] == "where(x > 0, x, 0.3*x)"


def test_pictures(run, tmp_path):
    code, out, _ = run("health", "relu", "elu", "--no-cost", "--plot", tmp_path / "h.svg")
    assert code == 0
    for name in ("h-relu.svg", "h-elu.svg"):
        assert name in out
        assert (tmp_path / name).read_text().count('<g id="axes_') == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing_like_it",), "unknown activation"),
        (("x +",), "cannot read this formula"),
        (("relu", "--plot", "a.gif"), ".png"),
        (("swish", "--set", "beta"), "--set beta=2"),
        (("swish", "--set", "beta=two"), "--set beta=2"),
        (("swish", "--set", "gamma=1"), "no function here has that parameter"),
        (("relu", "-q", "0"), "above 0"),
        (("relu", "--sigma-w", "-1"), "sigma_w"),
    ],
)
def test_bad_input(run, arguments, message):
    code, out, err = run("health", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
