"""`nonlin plot`: files, families of one function, and errors in words."""

import pytest
from typer.testing import CliRunner

from nonlin.cli.app import app
from nonlin.errors import NonlinError


def run(*arguments):
    return CliRunner().invoke(app, ["plot", *map(str, arguments)])


def test_several_functions(tmp_path):
    path = tmp_path / "a.svg"
    done = run("relu", "x*tanh(x)", "-o", path)
    assert done.exit_code == 0
    assert done.output.strip() == str(path)
    text = path.read_text()
    assert all(words in text for words in ("relu", "x*tanh(x)", "f(x)", "f′(x)"))


def test_a_family_and_a_constant_of_the_catalogue(tmp_path):
    for function, vary, words in (
        ("swish", "beta=0,0.5,1,2,5", ["beta = 0.5", "beta = 5", "swish"]),
        ("leaky_relu", "alpha=0,0.2", ["alpha = 0.2", "leaky_relu"]),
        ("x*sigmoid(a*x) + b", "a=1,2", ["a = 2", "b = 1"]),
    ):
        path = tmp_path / "a.svg"
        assert run(function, "--vary", vary, "-o", path, "--no-derivative").exit_code == 0
        assert [word for word in words if word not in path.read_text()] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("swish", "--vary", "gamma=1"), "'gamma'; it has: beta"),
        (("relu", "--vary", "beta=1"), "nothing to vary"),
        (("swish", "--vary", "beta"), "beta=0,0.5,1,2,5"),
        (("swish", "--vary", "beta=1,two"), "beta=1,two"),
        (("swish", "--vary", "beta=inf"), "beta=inf"),
        (("swish", "gelu", "--vary", "beta=1"), "got 2: swish, gelu"),
        (("relu", "--low", "2", "--high", "1"), "--low must be below --high"),
        (("relu", "-o", "a.bmp"), r"\.svg"),
    ],
)
def test_errors(arguments, words):
    done = run(*arguments)
    assert isinstance(done.exception, NonlinError)
    with pytest.raises(NonlinError, match=words):
        raise done.exception
