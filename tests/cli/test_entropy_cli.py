"""`nonlin derive` and `nonlin worst`."""

import json

import numpy as np
import pytest


@pytest.fixture
def samples(tmp_path):
    path = tmp_path / "pre.npy"
    np.save(path, np.random.default_rng(0).gamma(2.0, size=(50, 20)))
    return path


def test_derive_relu_arrives_at_crrelu(run):
    code, out, err = run("derive", "relu", "--density", "normal")
    assert (code, err) == (0, "")
    assert "u(x) = x*exp(-0.5*x**2)" in out
    assert "known as crrelu" in out
    assert "(-1, 2.24084)" in out
    found = json.loads(run("derive", "relu", "--json", "--eps", "0.02")[1])
    assert found["name"] == "crrelu"
    assert found["parameters"] == {"epsilon": 0.02}
    assert found["entropy"]["after"]["H"] > found["entropy"]["before"]["H"]


@pytest.mark.parametrize("formula", ["gelu", "sin(x)"])
def test_derive_without_inverse(run, formula):
    code, out, _ = run("derive", formula)
    assert code == 0
    assert "no inverse" in out
    assert "misfit" in out


def test_derive_says_what_the_sign_and_a_large_eps_do(run):
    assert "The entropy rises with this eps" in run("derive", "relu")[1]
    assert "The entropy rises" not in run("derive", "relu", "--eps", "-0.01")[1]
    assert "(proved) for eps=0.01" in run("derive", "relu")[1]
    assert "eps=5 lies outside: g has no inverse" in run("derive", "relu", "--eps", "5")[1]


def test_derive_shows_latex_and_other_densities(run):
    out = run("derive", "relu", "--latex")[1]
    assert r"$\eta(x) = x \, e^{-0.5" in out
    out = run("derive", "relu", "--loc", "1", "--scale", "2")[1]
    assert "(0.25*x - 0.25)*exp(-0.5*(0.5*x - 0.5)**2)" in out  # (x - mu)/s² exp(-(x - mu)²/2s²)


def test_worst(run):
    assert run("worst", "--density", "logistic")[1].startswith("sigmoid: sigmoid(x)")
    assert "tanh" in run("worst", "--density", "logistic", "--scale", "0.5", "--low", "-1")[1]
    found = json.loads(run("worst", "--density", "normal", "--fixed", "variance", "--json")[1])
    assert found["formula"] == "x"


@pytest.mark.parametrize("density", ["normal", "student_t", "uniform", "laplace"])
def test_the_entropy_of_a_uniform_output_is_0_and_nothing_near_it(run, density):
    """Sums leave ±1e-17, which would read as a figure; and no -0."""
    given = ["--density", density, *(["--df", "3"] if density == "student_t" else [])]
    assert repr(json.loads(run("worst", *given, "--json")[1])["entropy"]) == "0.0"
    assert ": 0.000000 nats" in run("worst", *given)[1]


def test_samples_of_few_values_are_noticed(run, tmp_path):
    np.save(tmp_path / "few.npy", np.arange(100) % 5)
    code, out, err = run("worst", "--samples", tmp_path / "few.npy")
    assert (code, "only 5 of the 100 samples differ" in err) == (0, True)
    assert "nats" in out


def test_worst_of_samples(run, samples, tmp_path):
    code, out, _ = run("worst", "--samples", samples, "-o", tmp_path / "w.png")
    assert code == 0
    assert "worst(samples)" in out
    assert (tmp_path / "w.png").stat().st_size > 5000
    text = tmp_path / "pre.txt"
    np.savetxt(text, np.load(samples))
    assert run("worst", "--samples", text)[0] == 0


def test_derive_draws(run, tmp_path):
    assert run("derive", "relu", "-o", tmp_path / "d.svg")[0] == 0
    assert (tmp_path / "d.svg").read_text().count('<g id="axes_') == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("derive", "nothing_like_it"), "unknown activation"),
        (("derive", "relu", "--density", "gauss"), "Did you mean 'gaussian'"),
        (("derive", "relu", "--scale", "-1"), "scale"),
        (("derive", "relu", "-o", "a.gif"), ".png"),
        (("derive", "sigmoid", "--density", "logistic"), "maximum"),
        (("worst", "--low", "3", "--high", "1"), "did you mean low=1, high=3"),
        (("worst", "--fixed", "mean"), "'variance'"),
        (("worst", "--samples", "none.npy"), "cannot read samples"),
        (("worst", "--fixed", "variance", "--high", "2"), "has no bounds"),
        (("derive", "relu", "-o", "no/folder.png"), "its folder does not exist"),
        (("derive", "3"), "In Python, nonlin.entropy.correction"),
        (("worst", "--samples", "none.npy", "--loc", "1"), "leave out --loc"),
        (("derive", "relu", "--samples", "none.npy", "--density", "normal"), "leave out --density"),
    ],
)
def test_bad_input(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array(["a", "b"]), "holds values of type <U1, which are no real numbers"),
        (np.array([1 + 2j, 3]), "complex128"),
        (np.array([], dtype=float), "the samples are empty"),
        (b"hello", "holds something else than numbers"),
        (b"", "the file is empty"),
        (np.array([1e300, 0.0, 1.0]), "the samples reach 1e+300"),
    ],
)
def test_samples_that_are_none(run, tmp_path, content, message):
    path = tmp_path / "s.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    code, _, err = run("worst", "--samples", path)
    assert code == 2
    assert message in err
    assert "pickle" not in err
