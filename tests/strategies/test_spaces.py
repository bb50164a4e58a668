"""Spaces: sizes, members, codes, unbiased sampling, and what is read from a file."""

import pickle

import numpy as np
import pytest

import nonlin as nl
from nonlin.errors import SearchError, UnknownNameError
from nonlin.expr import parse, substitute
from nonlin.expr.codegen import compile_kernel
from nonlin.expr.identity import IdentityIndex, same_function
from nonlin.strategies import SPACES, load_space, space
from nonlin.strategies.functions import BINARY, UNARY
from nonlin.strategies.sketch import INPUTS, sketch
from nonlin.strategies.spaces import Space, below

CORE = space("core-1")
FUNCTIONS = ("a", "-a", "beta*a", "sin(a)", "max(a, 0)", "beta"), ("a + b", "a*b", "exp(-beta*(a - b)**2)")
SMALL = Space("small", *FUNCTIONS)
BUILT_IN = [*SPACES, "core-4", "core-4-free"]


def test_size_is_that_of_the_paper():
    assert (len(UNARY), len(BINARY), len(CORE)) == (25, 10, 6250)
    assert len(set(UNARY)) == 25
    assert sum(1 for _ in CORE) == 6250


def test_sizes_of_the_large_spaces():
    assert [space(f"core-{n}").size for n in (2, 3, 7)] == [6250**2, 6250**3, 6250**7]
    # each of two inputs of unit k is x or one of the k - 1 units before it
    assert space("core-2-free").size == 6250**2 * 2**2
    assert space("core-3-free").size == 6250**3 * 2**2 * 3**2
    u, b, n = 29, 7, 4
    surrogate = space("surrogate-paper")
    assert (len(surrogate.unary), len(surrogate.binary), len(surrogate.nary)) == (u, b, n)
    assert surrogate.size == u * u + b * u * u + n * u**3 + u * b * u * u + 2 * b * u**3


def test_members():
    texts = {str(CORE[index]) for index in range(len(CORE))}
    assert "x*sigmoid(x)" in texts
    assert "min(x, sin(x))" in texts
    assert "beta1*x + beta2*x" in texts
    assert "exp(-beta*(x - x)**2)" in texts
    with pytest.raises(IndexError):
        CORE[6250]


@pytest.fixture(scope="module")
def functions_of_core():
    index = IdentityIndex()
    for expr in CORE:
        index.add(expr)
    return index


@pytest.mark.parametrize(
    "text",
    [
        "x*sigmoid(beta*x)",
        "max(x, sigmoid(x))",
        "cos(x) - x",
        "min(x, sin(x))",
        "atan(x)**2 - x",
        "max(x, tanh(x))",
        "sinc(x) + x",
        "x*asinh(x)**2",
    ],
)
def test_the_papers_best_functions_are_in_it(text, functions_of_core):
    # atan(x)**2 and asinh(x)**2 need a second unary function, so the paper found them with two units
    needs_two = "**2" in text
    assert (functions_of_core.find(parse(text)) is not None) == (not needs_two)
    if needs_two:
        inner, outer = ("atan", "a - b") if "atan" in text else ("asinh", "a*b")
        two = space("core-2")
        b, u = BINARY.index, UNARY.index
        second = (b(outer), u("a"), u("a"))
        assert same_function(two.decode((b("a*b"), u(f"{inner}(a)"), u(f"{inner}(a)"), *second)), parse(text))


def test_parameters_are_separate():
    assert CORE[len(CORE) - 1].parameters == ("beta3", "beta1", "beta2")
    three = space("core-3")
    b, u = len(BINARY) - 1, UNARY.index("beta*a")
    assert len(three.decode((b, u, u) * 3).parameters) == 9
    # the last unit here ignores what the others compute: their parameters are none of the function's
    assert three[three.size - 1].parameters == ("beta3", "beta1", "beta2")


# Codes


@pytest.mark.parametrize("name", BUILT_IN)
def test_codes_indices_and_expressions_lead_to_each_other(name):
    nl.testing.check_space(name, draws=25)


@pytest.mark.parametrize("name", ["core-1", "core-3", "core-3-free", "surrogate-paper"])
def test_encode_finds_every_member(name):
    where, generator = space(name), np.random.default_rng(5)
    for _ in range(40):
        expr = where.sample(generator)
        renamed = substitute(expr, {p: parse(f"k{i}") for i, p in enumerate(expr.parameters)})
        code = where.encode(renamed)
        assert code is not None
        assert same_function(where.decode(code), expr)
        assert expr in where


def test_strangers_are_not_members():
    for text in ("x*Phi(x)", "tan(x)", "2*x", "x*sigmoid(alpha*x) + alpha", "beta*x + beta*sin(x)"):
        assert parse(text) not in CORE
    assert "x*sigmoid(x)" not in CORE  # a text is no expression


def test_order_of_a_list():
    everything = list(SMALL)
    assert [SMALL.index(SMALL.code(k)) for k in range(SMALL.size)] == list(range(SMALL.size))
    assert str(everything[1]) == "x + -x"  # the last place moves first
    distinct = list(SMALL.distinct())
    assert len(distinct) == len({IdentityIndex().add(e)[0] for e in distinct}) < SMALL.size


def test_codes_that_are_none():
    for code in ((), (0, 0), (0, 0, 0, 0), (10, 0, 0), (0, -1, 0)):
        with pytest.raises(SearchError, match="is not a code of the space core-1"):
            CORE.decode(code)
    with pytest.raises(SearchError):
        space("surrogate-paper").decode((6, 0))


@pytest.mark.parametrize("name", ["core-1", "core-2-free", "surrogate-paper"])
def test_values_of_many_codes_are_those_of_their_expressions(name):
    where, generator = space(name), np.random.default_rng(2)
    codes = [where.sample_code(generator) for _ in range(30)]
    for code, values in zip(codes, sketch(where, codes).values, strict=True):
        expr = where.decode(code)
        fixed = substitute(expr, dict.fromkeys(expr.parameters, 1.0))
        wanted = compile_kernel((fixed,), ())(INPUTS)[0].numpy()
        np.testing.assert_allclose(values, wanted, rtol=1e-7, atol=1e-9)


# Sampling


def chi_square(where: Space, draws_each: int) -> float:
    """Of sampled codes, against the uniform distribution."""
    generator = np.random.default_rng(0)
    counts = np.zeros(where.size)
    for _ in range(where.size * draws_each):
        counts[where.index(where.sample_code(generator))] += 1
    return float(((counts - draws_each) ** 2 / draws_each).sum())


def test_sampling_is_unbiased():
    assert chi_square(SMALL, 60) < 160  # 107 degrees of freedom, p = 0.001 at 158


def test_sampling_is_unbiased_over_templates_of_different_size():
    mixed = Space("mixed", FUNCTIONS[0], FUNCTIONS[1], templates=("u(x)", "b(u(x), x)", "b(u(x), u(x))"))
    assert mixed.size == 6 + 18 + 108
    assert chi_square(mixed, 50) < 188  # 131 degrees of freedom, p = 0.001 at 185


def test_numbers_below_a_limit_of_many_bits():
    generator = np.random.default_rng(0)
    limit = 3 * 10**40
    drawn = [below(limit, generator) for _ in range(600)]
    assert max(drawn) < limit
    thirds = np.bincount([value // 10**40 for value in drawn], minlength=3)
    assert ((thirds - 200) ** 2 / 200).sum() < 13.8  # 2 degrees of freedom, p = 0.001


# Names and storage


def test_spaces_are_data():
    for name in BUILT_IN:
        where = space(name)
        _ = where.shapes
        assert pickle.loads(pickle.dumps(where)) == where
        assert Space.from_definition(where.definition()) == where
        assert hash(Space.from_definition(where.definition())) == hash(where)


def test_unknown_names():
    for name in ("core1", "core-0", "core-2-loose", "paper"):
        with pytest.raises(UnknownNameError, match="core-N"):
            space(name)
    with pytest.raises(SearchError, match="may have 1 to 12"):
        space("core-13")
    with pytest.raises(SearchError, match="may have 1 to 6"):
        space("core-7-free")


# Files


def test_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'like = "core-1"\nremove = ["sqrt(a)", "a - b"]\nadd_unary = ["softplus(k*a)"]\n'
        'templates = ["b(x, g(x))", "x*sigmoid(u(x))"]\nper = "tensor"\n'
    )
    mine = load_space(path)
    assert mine == space(path) == space(str(path))
    assert (mine.name, mine.per, len(mine.unary), len(mine.binary)) == ("mine", "tensor", 25, 9)
    assert mine.size == 9 * 9 * 25 * 25 + 25
    assert parse("x*sigmoid(softplus(c*x))") in mine
    assert parse("x*(sin(x) + tanh(x))") in mine
    assert parse("x + x") not in mine
    nl.testing.check_space(path)


def test_n_ary_templates_fold_one_function():
    three = Space("three", ("a", "sin(a)"), nary=("a + b", "max(a, b)"), templates=("n(u(x), u(x), u(x))",))
    assert three.size == 2 * 2**3
    assert {str(e) for e in three} >= {"x + x + sin(x)", "max(max(x, sin(x)), x)"}
    assert parse("max(x, sin(x)) + x") not in three


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('unary = ["a"', "line 1: this is not TOML"),
        ('\nunnary = ["a"]', "line 2: 'unnary' is not known here; did you mean 'unary'"),
        ('like = "core-1"\nremove = ["exp(b)"]', r"line 2: remove names 'exp\(b\)'.*did you mean 'exp\(a\)'"),
        ('unary = ["a", "sin(x)"]\nbinary = ["a + b"]', "line 1: a unary function is written without x"),
        ('unary = [\n"a",\n"sinn(a)"]\nbinary = ["a + b"]', r"line 3: cannot read this formula(.|\n)*'sin'"),
        ('like = "core-1"\ntemplates = ["b(x, u(x)"]', r"line 2: cannot read the template 'b\(x, u\(x\)'"),
        ('like = "core-1"\ntemplates = ["b(x)"]', "b takes 2 arguments, not 1"),
        ('like = "core-1"\ntemplates = ["x*tanh(x)"]', "has no hole"),
        ('like = "core-1"\ntemplates = ["n(x, u(x))"]', "has no nary functions"),
        ('like = "core-1"\ntemplates = ["b(x, u(x))"]\nunits = 2', "line 3: give either units or templates"),
        ('like = "core-99"', "line 1: space 'core-99' asks for 99 units"),
        ('like = "cor-1"', "line 1: unknown space 'cor-1'"),
        ('like = "core-1"\nunits = 40', "line 2: .* may have 1 to 12"),
        ('like = "core-1"\nunits = "2"', "line 2: units must be a whole number"),
        ('like = "core-1"\nwiring = "ring"', "line 2: wiring must be 'chain' or 'free', not 'ring'"),
        ('like = "core-1"\nper = "layer"', "line 2: per must be"),
        ('name = "core-2"\nlike = "core-1"', "line 1: the name 'core-2' cannot be used"),
        ('unary = "a"', r"line 1: unary must be a list of texts"),
        ("", "needs unary and binary functions"),
    ],
)
def test_mistakes_in_a_file_are_shown(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(SearchError, match=message) as caught:
        load_space(path)
    assert "bad.toml" in str(caught.value)


def test_a_file_that_is_not_there():
    with pytest.raises(SearchError, match=r"no file nowhere\.toml"):
        space("nowhere.toml")
