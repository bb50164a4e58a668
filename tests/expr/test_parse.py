"""Text to tree: what reads, what does not, and that strangers cannot do harm."""

import pickle
import time

import pytest
from expressions import expressions
from hypothesis import given

from nonlin.errors import FormulaError
from nonlin.expr import parse, to_text
from nonlin.expr.operators import OPERATORS
from nonlin.expr.tree import Const, Symbol, call


@given(expressions())
def test_text_round_trip(tree):
    assert parse(to_text(tree)) == tree


@given(expressions())
def test_pickle_round_trip(tree):
    again = pickle.loads(pickle.dumps(tree))
    assert again == tree
    assert hash(again) == hash(tree)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("x * sigmoid(beta*x)", "x*sigmoid(beta*x)"),
        ("((x))+(1)", "x + 1"),
        ("-(2*x)**2", "-(2*x)**2"),
        ("x-(1-x)", "x - (1 - x)"),
        ("x/(x*2)", "x/(x*2)"),
        ("2.50*x", "2.5*x"),
        ("x**-1", "x**-1"),
        ("max(x, 0, 1)", "max(max(x, 0), 1)"),
        ("arctan(x)", "atan(x)"),
        ("where(x<0, 1, x)", "where(x < 0, 1, x)"),
        ("pi*x", "pi*x"),
    ],
)
def test_printed_form(text, printed):
    assert to_text(parse(text)) == printed


def test_python_precedence():
    assert parse("-x**2") == call("neg", call("pow", Symbol("x"), 2))
    assert parse("2-3-4") == call("sub", call("sub", 2, 3), 4)
    assert parse("-2") == Const(-2)


def test_parameters_in_order():
    assert parse("b*x + a*tanh(b*x)").parameters == ("b", "a")


BAD = {
    "__import__('os').system('true')": "function's name",
    "x.real": "dot",
    "(lambda: 1)()": "function's name",
    "lambda x: x": "not part of a formula",
    "x if x > 0 else 0": r"where\(",
    "[x for x in x]": "not part of a formula",
    "x*foo(x)": "Unknown function 'foo'",
    "tanhh(x)": "Did you mean 'tanh'",
    "tanh": "give it its argument",
    "x^2": r"\*\*",
    "|x|": r"abs\(x\)",
    "2x": "written with",
    "x +": "",
    "x = 1": "without '='",
    "(x": "",
    "0 < x < 1": "not chained",
    "x == 1": "<, <=, > and >=",
    "'x'": "real number",
    "1j*x": "real number",
    "True": "real number",
    "x**1000000000": "Exponents are bounded",
    "x**2**2**2**2**2**2": "Exponents are bounded",
    "9**9**9**9*x": "Exponents are bounded",
    "x**(1/0)": "Exponents are bounded",
    "1e999": "too large",
    "9" * 400: "too large",
    "tanh(x, 1)": "takes 1 argument, not 2",
    "max(x)": "takes 2 arguments, not 1",
    "tanh(*x)": "plain arguments",
    "tanh(a=x)": "plain arguments",
    "x and 1": r"where\(",
    "__x": "two underscores",
    "X": "small letter x",
    "": "empty",
    "   ": "empty",
    "x·2": r"MIDDLE DOT.*\*",
    "βx": "GREEK SMALL LETTER BETA.*beta",
    "х": "CYRILLIC SMALL LETTER HA",
    "ｘ": "did you mean 'x'",
    "x\x00": "",
    "spherical_j(1.5, x)": "whole number",
    "x" * 5000: "at most",
    "(" * 100_000 + "x" + ")" * 100_000: "at most",
    "(" * 1500 + "x" + ")" * 1500: "",
    "-" * 3000 + "x": "nested",
    "+".join(["x"] * 1900): "",
    "x; x": "one expression",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:20]))
def test_bad_formulas_give_one_clear_error_at_once(text):
    begin = time.perf_counter()
    with pytest.raises(FormulaError, match=f"(?s){BAD[text]}") as caught:
        parse(text)
    assert time.perf_counter() - begin < 0.5
    message = str(caught.value)
    assert message.startswith("cannot read this formula:")
    assert len(message) < 1200


def test_caret_stands_under_the_place():
    with pytest.raises(FormulaError) as caught:
        parse("x + tanh(x)*foo(2*x)")
    lines = str(caught.value).splitlines()
    assert lines[2].index("^") == lines[1].index("foo")
    assert lines[2].count("^") == len("foo")


@pytest.mark.parametrize("text", ["x +", "x*tanh(x)**"])
def test_caret_stands_under_the_end_of_an_unfinished_formula(text):
    with pytest.raises(FormulaError) as caught:
        parse(text)
    lines = str(caught.value).splitlines()
    assert lines[2].rstrip().index("^") == len(lines[1]) - 1


def test_caret_in_a_long_formula():
    text = "+".join(["x*x"] * 30) + "+foo(x)"
    with pytest.raises(FormulaError) as caught:
        parse(text)
    lines = str(caught.value).splitlines()
    assert lines[1][lines[2].index("^") :].startswith("foo")


def test_error_survives_pickling():
    with pytest.raises(FormulaError) as caught:
        parse("foo(x)")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_not_text():
    with pytest.raises(FormulaError, match="not int"):
        parse(3)


def test_trees_are_immutable():
    tree = parse("x + 1")
    with pytest.raises(AttributeError):
        tree.args = ()


def test_every_function_of_the_table_reads():
    for row in OPERATORS.values():
        if row.symbol is None and row.name not in ("mul0", "spherical_j"):
            text = f"{row.name}({', '.join('xyz'[: row.arity])})" if row.arity else row.name
            assert to_text(parse(text)) == text
