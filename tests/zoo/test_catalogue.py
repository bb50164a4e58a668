"""Every activation of the catalogue against mpmath, and against torch where torch has it.

How large an error may be
-------------------------
The bound is ``n units in the last place × max(1, κ)``, where κ is the condition number of the result g,
the sum of |u·∂g/∂u|/|g| over x, the parameters and the constants u: what one rounding of each number
that goes in does to g, which no program can be blamed for. n is 4 in float32; in float64 the bound is
1e-12. Results with κ ≤ 1 are thus held to the plain relative error. The derivatives by x and by the
parameters are held to the same bound, with their own κ. Where a factor of the result underflows, it
may differ by the smallest normal number times max(1, x²).

Each function is tested with its default parameters and constants, and with all of them moved, so that
a parameter in the wrong place shows.
"""

import math
import tomllib
from functools import cache
from importlib import resources

import pytest
import torch
import torch.nn.functional as F
from mpmath import mp, mpf, nstr
from reference import KINKS, LOOSE, LOOSE_PARAMETERS, REFERENCE

from nonlin.expr.codegen import compile_kernel
from nonlin.expr.derivative import derivative
from nonlin.expr.operators import FUNCTIONS
from nonlin.expr.parse import parse
from nonlin.expr.tree import substitute

torch.set_num_threads(1)

_TEXT = resources.files("nonlin.zoo").joinpath("catalogue.toml").read_text(encoding="utf-8")
ENTRIES = {entry["name"]: entry for entry in tomllib.loads(_TEXT)["activation"]}
NAMES = sorted(ENTRIES)
COVERED = [name for name in NAMES if name in REFERENCE]  # a new entry fails one test alone, which says where it goes
CASES = [(name, draw) for name in COVERED for draw in ("default", "moved")] + [("soft_exponential", "negative")]
ULPS = {torch.float32: 4 * 2.0**-23, torch.float64: 1e-12}
# Irregular, so that no kink falls on one: 25 sizes with both signs.
_SIZES = [
    1.1e-6, 1.3e-4, 2.7e-3, 0.019, 0.083, 0.17, 0.29, 0.43, 0.61, 0.79, 1.07, 1.33, 1.61, 2.03, 2.57, 3.11,
    3.79, 4.63, 5.71, 7.37, 9.41, 12.7, 17.3, 23.9, 29.9,
]  # fmt: skip
GRID = torch.tensor([s * sign for s in _SIZES for sign in (-1.0, 1.0)], dtype=torch.float32).tolist()
FEW = GRID[4::7]


def single(value: float) -> float:
    """The nearest float32 number: parameters that both precisions represent."""
    return torch.tensor(value, dtype=torch.float32).item()


@cache
def settings(name: str, draw: str) -> tuple[dict[str, float], dict[str, float]]:
    """The parameters and the constants of one test."""
    entry = ENTRIES[name]
    parameters, constants = entry.get("parameters", {}), entry.get("constants", {})
    if draw != "default":  # differently for each, so that none can stand in for another
        moved = enumerate({**parameters, **constants}.items(), start=1)
        moved = {key: value * 1.25 + 0.25 * k for k, (key, value) in moved}
        sign = -1.0 if draw == "negative" else 1.0
        parameters = {key: sign * moved[key] for key in parameters}
        constants = {key: moved[key] for key in constants}
    return {key: single(value) for key, value in parameters.items()}, constants


@cache
def compiled(name: str, draw: str):
    """kernel(x) -> value, derivative by x, derivative by each parameter."""
    parameters, constants = settings(name, draw)
    tree = substitute(parse(ENTRIES[name]["formula"]), constants)
    outputs = (tree, derivative(tree), *(derivative(tree, key) for key in parameters))
    kernel = compile_kernel(outputs, tuple(parameters))

    def evaluate(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return kernel(x, *(torch.tensor(value, dtype=x.dtype) for value in parameters.values()))

    return evaluate


# Truth


def precise(compute):
    """The value at 50 digits, or at 400 where it is small and may be what is left of a cancellation."""
    for digits in (50, 400):
        with mp.workdps(digits):
            value = compute()
            if not isinstance(value, mpf):
                return None  # complex: outside the domain
            if abs(value) > 1e-15:
                break
    return value


@cache
def truth(name: str, draw: str, x: float, *by: str):
    """The reference, differentiated by the inputs named in `by`, as an mpf; None outside the domain."""
    parameters, constants = settings(name, draw)
    inputs = {"x": mpf(x), **{key: mpf(value) for key, value in {**parameters, **constants}.items()}}
    function, moving = REFERENCE[name], tuple(dict.fromkeys(by))
    if not by:
        return precise(lambda: function(**inputs))
    # next to 0 the difference quotient must not step over a kink there
    side = (x > 0) - (x < 0) if abs(x) < 1e-30 else 0
    orders = tuple(by.count(key) for key in moving)
    return precise(
        lambda: mp.diff(
            lambda *values: function(**{**inputs, **dict(zip(moving, values, strict=True))}),
            tuple(inputs[key] for key in moving),
            orders,
            direction=side,
        )
    )


def judge(got: float, name: str, draw: str, x: float, dtype: torch.dtype, *by: str) -> str:
    """Empty if `got` is within the bound of the module's docstring, else what is wrong."""
    want = truth(name, draw, x, *by)
    limits = torch.finfo(dtype)
    if want is None or abs(want) > limits.max:
        return ""
    error = abs(mpf(got) - want)
    if error <= ULPS[dtype] * abs(want) or error <= limits.tiny * max(1, x * x):
        return ""
    parameters, constants = settings(name, draw)
    inputs = {"x": x, **parameters, **constants}
    moved = sum(abs(value * truth(name, draw, x, *by, key)) for key, value in inputs.items())
    bound = ULPS[dtype] * max(abs(want), moved)
    if name in LOOSE and by == ("x",):
        bound *= max(1, x * x)
    if by and (name, by[0]) in LOOSE_PARAMETERS:
        bound = max(bound, ULPS[dtype] * abs(x))
    if error <= bound:
        return ""
    what = "".join(f" by {key}" for key in by) or " value"
    return f"{what} at {x!r}: {got!r}, not {nstr(want, 12)}, {nstr(error / bound, 3)} times the bound"


def kinks(name: str, draw: str) -> list[float]:
    parameters, constants = settings(name, draw)
    return KINKS[name](**parameters, **constants) if name in KINKS else []


def wrong_places(
    results: torch.Tensor, points: list[float], name: str, draw: str, dtype: torch.dtype, *by: str
) -> list[str]:
    """A message for each result that is not close enough to the reference's derivative by `by`."""
    assert results.dtype == dtype
    assert results.shape == (len(points),)
    pairs = zip(points, results.tolist(), strict=True)
    return [message for x, got in pairs if (message := judge(got, name, draw, x, dtype, *by))]


# The data


def test_each_name_is_used_once():
    """Names and aliases are looked up without regard to case, "-", "_" and blanks."""
    owners = {}
    for name, entry in ENTRIES.items():
        for spelling in {plain(text) for text in (name, *entry.get("aliases", ()))}:
            assert owners.setdefault(spelling, name) == name, spelling
    assert len(ENTRIES) == _TEXT.count("[[activation]]")


def plain(text: str) -> str:
    return text.lower().replace("-", "").replace("_", "").replace(" ", "")


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_well_formed(name):
    entry = ENTRIES[name]
    assert set(entry) <= {"name", "aliases", "formula", "parameters", "constants", "source", "remark"}
    assert name == name.lower()
    assert name.isidentifier()
    named = {**entry.get("parameters", {}), **entry.get("constants", {})}
    assert sorted(parse(entry["formula"]).parameters) == sorted(named)
    assert not set(named) & set(FUNCTIONS)
    assert entry["source"].strip()
    assert entry["remark"].endswith(".")
    assert "\n" not in entry["remark"]


# Against mpmath


def test_reference_covers_catalogue():
    assert set(ENTRIES) - set(REFERENCE) == set(), "write the published formula of these into tests/zoo/reference.py"
    assert set(REFERENCE) - set(ENTRIES) == set(), "tests/zoo/reference.py has functions that the catalogue has not"
    assert set(KINKS) | LOOSE | {name for name, _ in LOOSE_PARAMETERS} <= set(ENTRIES)


@pytest.mark.parametrize("dtype", ULPS, ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "draw"), CASES)
def test_value_and_derivative(name, draw, dtype):
    value, slope, *_ = compiled(name, draw)(torch.tensor(GRID, dtype=dtype))
    wrong = wrong_places(value, GRID, name, draw, dtype)
    wrong += wrong_places(slope, GRID, name, draw, dtype, "x")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", ULPS, ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "draw"), [case for case in CASES if "parameters" in ENTRIES[case[0]]])
def test_derivative_by_parameters(name, draw, dtype):
    parameters, _ = settings(name, draw)
    _, _, *gradients = compiled(name, draw)(torch.tensor(FEW, dtype=dtype))
    wrong = []
    for key, gradient in zip(parameters, gradients, strict=True):
        wrong += wrong_places(gradient.expand(len(FEW)), FEW, name, draw, dtype, key)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", ULPS, ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "draw"), CASES)
def test_extreme_inputs(name, draw, dtype):
    limits = torch.finfo(dtype)
    smallest = limits.tiny * limits.eps  # the smallest subnormal number
    points = [0.0, -0.0, smallest, -smallest, limits.tiny, -limits.tiny, 300.0, -300.0]
    value, slope, *_ = compiled(name, draw)(torch.tensor(points, dtype=dtype))
    wrong = wrong_places(value, points, name, draw, dtype)
    smooth = [x for x in points if x not in kinks(name, draw)]
    slope = slope[[x in smooth for x in points]]
    wrong += wrong_places(slope, smooth, name, draw, dtype, "x")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", ULPS, ids=["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_finite_everywhere(name, dtype):
    """At every eighth in [-300, 300], where exponentials overflow and underflow; kinks among them."""
    x = torch.linspace(-300, 300, 4801, dtype=dtype)
    for result in compiled(name, "default")(x)[:2]:
        assert bool(result.isfinite().all()), x[~result.isfinite()]


@pytest.mark.parametrize(("name", "draw"), [case for case in CASES if case[0] in KINKS])
def test_derivative_at_kinks(name, draw):
    """Between the derivatives on the two sides, which are taken a little beside the kink."""
    places = torch.tensor(kinks(name, draw), dtype=torch.float64)
    left, middle, right = (compiled(name, draw)(places + side)[1] for side in (-1e-4, 0.0, 1e-4))
    low, high = torch.minimum(left, right) - 2e-3, torch.maximum(left, right) + 2e-3
    assert bool(((low <= middle) & (middle <= high)).all()), (places, left, middle, right)


@pytest.mark.parametrize("dtype", ULPS, ids=["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_nan_is_passed_on(name, dtype):
    """Among ordinary numbers, in the value and in the derivative."""
    x = torch.tensor([math.nan, 1.0, math.nan], dtype=dtype)
    for result in compiled(name, "default")(x)[:2]:
        assert result.isnan().tolist() == [True, False, True]


# Against torch

TORCH = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_sigmoid": F.hardsigmoid,
    "hard_tanh": F.hardtanh,
    "softsign": F.softsign,
    "probit": torch.special.ndtr,
    "erf": torch.erf,
    "arctan": torch.atan,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)),
    "rrelu": lambda x: F.rrelu(x, training=False),
    "thresholded_relu": lambda x: F.threshold(x, 1.0, 0.0),
    "hard_shrink": F.hardshrink,
    "soft_shrink": F.softshrink,
    "tanh_shrink": F.tanhshrink,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hard_swish": F.hardswish,
    "mish": F.mish,
}


@pytest.mark.parametrize("dtype", ULPS, ids=["float32", "float64"])
@pytest.mark.parametrize("name", sorted(TORCH))
def test_agrees_with_torch(name, dtype):
    """Value and gradient, at random points and at the two zeros, where conventions must be the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(500, generator=generator, dtype=dtype) * 3, torch.tensor([0.0, -0.0], dtype=dtype)])
    value, slope, *_ = compiled(name, "default")(x)
    x.requires_grad_()
    want = TORCH[name](x)
    (gradient,) = torch.autograd.grad(want.sum(), x)
    # torch is the less accurate of the two in the tails, and has 1/6 in single precision in hardsigmoid's
    # float64 gradient
    rtol, atol = (1e-5, 1e-6) if dtype == torch.float32 else (1e-7 if name == "hard_sigmoid" else 1e-9, 1e-10)
    torch.testing.assert_close(value, want.detach(), rtol=rtol, atol=atol)
    torch.testing.assert_close(slope, gradient, rtol=rtol, atol=atol)
