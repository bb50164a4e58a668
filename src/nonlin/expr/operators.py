"""The operator table: one row per operator, and everything else follows from the row.

A row holds the operator's name, the torch expression of its value, its partial derivatives
(as text in nonlin's own language, with the arguments called a, b, c), its LaTeX and its symmetry,
and, where simpler operators say the same, that formula: what has no function of its own (the
compiled core, an export target) takes the formula. The parser, the printers, the derivative, the
rewrite rules, the code generators and the search spaces read this table and nothing else, so
adding an operator is adding a row.

Conventions where mathematics leaves a choice (they match torch's autograd):
sign(0) = 0; the derivative of max and min at a tie is one half for each side; relu'(0) = 0;
clip has derivative 1 on its bounds; a comparison is 1 where it holds and 0 where it does not.

``sinc(a)`` is sin(a)/a (unnormalised, as in Ramachandran et al. 2017). ``spherical_j(n, a)`` is the
spherical Bessel function of integer order n, which closes the language under the derivative of
sinc: j0' = -j1 and j_n' = (n·j_{n-1} - (n+1)·j_{n+1})/(2n+1) [DLMF 10.51.1-2].
"""

from __future__ import annotations

from dataclasses import dataclass, field

EVEN, ODD = "even", "odd"


@dataclass(frozen=True)
class Operator:
    """One row of the table.

    Attributes
    ----------
    name : the function name in formulas, or the operator's internal name if it has a `symbol`
    torch : format string of the value; {0}, {1}, {2} are the arguments' code
    partials : text of the partial derivative by each argument; None where it has none
    latex : format string; {0}, {1}, {2} are the arguments' LaTeX
    symbol, precedence : of an infix or prefix operator
    symmetry : "even", "odd" or None, in the only argument
    boolean : the value is a truth value in torch (comparisons)
    commutative : f(a, b) = f(b, a)
    formula : text of the value in simpler operators, as accurate as the operator; see `expansion`
    """

    name: str
    torch: str
    partials: tuple[str | None, ...]
    latex: str
    symbol: str | None = None
    precedence: int = field(default=6, repr=False)
    symmetry: str | None = None
    boolean: bool = False
    commutative: bool = False
    formula: str | None = field(default=None, repr=False)
    arity: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arity", len(self.partials))

    # An operator is its row: it compares, hashes and pickles by name.
    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operator) and other.name == self.name

    def __reduce__(self):
        return operator, (self.name,)


def _function(name, torch, partial, latex=None, symmetry=None, formula=None) -> Operator:
    """A row for a function of one argument."""
    latex = latex or r"\operatorname{{" + name + r"}}\left({0}\right)"
    return Operator(name, torch, (partial,), latex, symmetry=symmetry, formula=formula)


def _infix(name, symbol, precedence, torch, partials, latex, **flags) -> Operator:
    return Operator(name, torch, partials, latex, symbol, precedence, **flags)


COMPARISON, SUM, PRODUCT, UNARY, POWER, ATOM = 1, 2, 3, 4, 5, 6

# fmt: off
_ROWS = (
    # arithmetic
    _infix("add", "+", SUM, "{0} + {1}", ("1", "1"), "{0} + {1}", commutative=True),
    _infix("sub", "-", SUM, "{0} - {1}", ("1", "-1"), "{0} - {1}"),
    _infix("mul", "*", PRODUCT, "{0} * {1}", ("b", "a"), r"{0} \, {1}", commutative=True),
    _infix("div", "/", PRODUCT, "{0} / {1}", ("1/b", "-(a/b)/b"), r"\frac{{{0}}}{{{1}}}"),
    _infix("neg", "-", UNARY, "-{0}", ("-1",), "-{0}", symmetry=ODD),
    # by the exponent, 0 to a positive power has derivative 0, where 0*log(0) would be NaN
    _infix("pow", "**", POWER, "power({0}, {1})",
           ("b*a**(b - 1)", "where(abs(a) > 0, a**b*log(a), 0)"), "{{{0}}}^{{{1}}}"),
    # comparisons: 1 or 0
    _infix("lt", "<", COMPARISON, "{0} < {1}", ("0", "0"), "[{0} < {1}]", boolean=True),
    _infix("le", "<=", COMPARISON, "{0} <= {1}", ("0", "0"), r"[{0} \le {1}]", boolean=True),
    _infix("gt", ">", COMPARISON, "{0} > {1}", ("0", "0"), "[{0} > {1}]", boolean=True),
    _infix("ge", ">=", COMPARISON, "{0} >= {1}", ("0", "0"), r"[{0} \ge {1}]", boolean=True),
    # pieces
    Operator("where", "choose({0}, {1}, {2})", (None, "where(a, 1, 0)", "where(a, 0, 1)"),
             r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}"),
    Operator("max", "maximum({0}, {1})", ("heaviside(a - b, 0.5)", "heaviside(b - a, 0.5)"),
             r"\max\left({0}, {1}\right)", commutative=True),
    Operator("min", "minimum({0}, {1})", ("heaviside(b - a, 0.5)", "heaviside(a - b, 0.5)"),
             r"\min\left({0}, {1}\right)", commutative=True),
    Operator("clip", "minimum(maximum({0}, {1}), {2})",
             ("where(a < b, 0, where(a > c, 0, 1))", "where(a < b, 1, 0)", "where(a > c, 1, 0)"),
             r"\operatorname{{clip}}\left({0}, {1}, {2}\right)", formula="min(max(a, b), c)"),
    Operator("heaviside", "heaviside({0}, {1})", ("0", "0"),
             r"\Theta_{{{1}}}\left({0}\right)", formula="where(a > 0, 1, where(a < 0, 0, b))"),
    _function("relu", "torch.relu({0})", "heaviside(a, 0)", formula="max(a, 0)"),
    _function("abs", "torch.abs({0})", "sign(a)", r"\left|{0}\right|", EVEN),
    _function("sign", "torch.sign({0})", "0", symmetry=ODD),
    _function("floor", "torch.floor({0})", "0", r"\left\lfloor {0} \right\rfloor"),
    # exponentials and logarithms
    _function("exp", "torch.exp({0})", "exp(a)", r"e^{{{0}}}"),
    _function("expm1", "torch.expm1({0})", "exp(a)", r"\left(e^{{{0}}} - 1\right)"),
    _function("log", "torch.log({0})", "1/a", r"\ln\left({0}\right)"),
    _function("log1p", "torch.log1p({0})", "1/(1 + a)", r"\ln\left(1 + {0}\right)"),
    _function("sqrt", "torch.sqrt({0})", "0.5/sqrt(a)", r"\sqrt{{{0}}}"),
    _function("sigmoid", "torch.sigmoid({0})", "sigmoid(a)*sigmoid(-a)", r"\sigma\left({0}\right)",
              formula="1/(1 + exp(-a))"),
    _function("softplus", "softplus({0})", "sigmoid(a)", formula="max(a, 0) + log1p(exp(-abs(a)))"),
    _function("logsigmoid", "-softplus(-{0})", "sigmoid(-a)", r"\ln\sigma\left({0}\right)", formula="-softplus(-a)"),
    # trigonometric
    _function("sin", "torch.sin({0})", "cos(a)", r"\sin\left({0}\right)", ODD),
    _function("cos", "torch.cos({0})", "-sin(a)", r"\cos\left({0}\right)", EVEN),
    _function("tan", "torch.tan({0})", "1 + tan(a)**2", r"\tan\left({0}\right)", ODD),
    _function("asin", "torch.asin({0})", "1/sqrt((1 - a)*(1 + a))", r"\arcsin\left({0}\right)", ODD),
    _function("acos", "torch.acos({0})", "-1/sqrt((1 - a)*(1 + a))", r"\arccos\left({0}\right)"),
    _function("atan", "torch.atan({0})", "1/(1 + a**2)", r"\arctan\left({0}\right)", ODD),
    _function("sinc", "spherical_j(0, {0})", "-spherical_j(1, a)", symmetry=EVEN, formula="spherical_j(0, a)"),
    Operator("spherical_j", "spherical_j({0}, {1})",
             (None, "(a*spherical_j(a - 1, b) - (a + 1)*spherical_j(a + 1, b))/(2*a + 1)"),
             r"j_{{{0}}}\left({1}\right)"),
    # hyperbolic
    _function("sinh", "torch.sinh({0})", "cosh(a)", r"\sinh\left({0}\right)", ODD),
    _function("cosh", "torch.cosh({0})", "sinh(a)", r"\cosh\left({0}\right)", EVEN),
    _function("tanh", "torch.tanh({0})", "sech(a)**2", r"\tanh\left({0}\right)", ODD),
    _function("sech", "sech({0})", "-sech(a)*tanh(a)", symmetry=EVEN,
              formula="2*exp(-abs(a))/(1 + exp(-2*abs(a)))"),
    _function("asinh", "asinh({0})", "1/sqrt(1 + a**2)", symmetry=ODD),
    _function("acosh", "torch.acosh({0})", "1/sqrt((a - 1)*(a + 1))"),
    _function("atanh", "torch.atanh({0})", "1/((1 - a)*(1 + a))", symmetry=ODD),
    # normal distribution
    _function("erf", "torch.erf({0})", "2/sqrt(pi)*exp(-a**2)", symmetry=ODD),
    _function("erfc", "erfc({0})", "-2/sqrt(pi)*exp(-a**2)"),
    _function("Phi", "normal_cdf({0})", "phi(a)", r"\Phi\left({0}\right)", formula="0.5*erfc(-sqrt(0.5)*a)"),
    _function("phi", "normal_pdf({0})", "-a*phi(a)", r"\varphi\left({0}\right)", EVEN,
              formula="1/sqrt(2*pi)*exp(-0.5*a*a)"),
    # constants
    Operator("pi", "3.141592653589793", (), r"\pi", formula="3.141592653589793"),
    # machine only: a product in which 0 times infinity is 0 (see codegen); never parsed
    Operator("mul0", "guarded_product({0}, {1})", ("b", "a"), r"{0} \, {1}", commutative=True,
             formula="where(abs(a) <= 0, 0, where(abs(b) <= 0, 0, a*b))"),
)
# fmt: on

OPERATORS: dict[str, Operator] = {row.name: row for row in _ROWS}
FUNCTIONS: dict[str, Operator] = {row.name: row for row in _ROWS if row.symbol is None and row.name != "mul0"}
MAX_EXPONENT = 64

assert len(OPERATORS) == len(_ROWS), "an operator name stands in two rows"


def operator(name: str) -> Operator:
    """The row called `name`; KeyError if there is none."""
    return OPERATORS[name]
