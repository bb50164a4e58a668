"""The functions that the built-in spaces are made of, as formulas.

In a unary function a is the input, in a binary one a and b are. Every other name is a trainable parameter.

`UNARY` and `BINARY` are those of Ramachandran, Zoph & Le (2017, arXiv:1710.05941, section 2), in their order. The paper
does not give the ε of log(|x|+ε) and x1/(x2+ε); `EPSILON` is our choice.

The `SURROGATE_` ones are those of Bingham & Miikkulainen (2023, arXiv:2301.05785): 29 of their 31 unary functions. The
two scaled Bessel functions I0e and I1e are not in the language.
"""

EPSILON = "1e-05"

UNARY = (
    "a", "-a", "abs(a)", "a**2", "a**3", "sqrt(a)", "beta*a", "a + beta", f"log(abs(a) + {EPSILON})",
    "exp(a)", "sin(a)", "cos(a)", "sinh(a)", "cosh(a)", "tanh(a)", "asinh(a)", "atan(a)", "sinc(a)",
    "max(a, 0)", "min(a, 0)", "sigmoid(a)", "log(1 + exp(a))", "exp(-a**2)", "erf(a)", "beta",
)  # fmt: skip
BINARY = (
    "a + b", "a*b", "a - b", f"a/(b + {EPSILON})", "max(a, b)", "min(a, b)", "sigmoid(a)*b",
    "exp(-beta*(a - b)**2)", "exp(-beta*abs(a - b))", "beta*a + (1 - beta)*b",
)  # fmt: skip

_ALPHA, _SCALE = "1.6732632423543772", "1.0507009873554805"  # of SELU: Klambauer et al. 2017, arXiv:1706.02515
SURROGATE_UNARY = (
    "0", "1", "a", "-a", "abs(a)", "1/a", "a**2", "exp(a)", "erf(a)", "erfc(a)", "sinh(a)", "cosh(a)", "tanh(a)",
    "expm1(a)", "sigmoid(a)", "logsigmoid(a)", "asinh(a)", "atan(a)", "max(a, 0)", "where(a > 0, a, expm1(a))",
    f"{_SCALE}*where(a > 0, a, {_ALPHA}*expm1(a))", "a*sigmoid(a)", "softplus(a)", "a/(1 + abs(a))",
    "clip(0.2*a + 0.5, 0, 1)", "where(a > 0, a, expm1(a))*sigmoid(a)", "max(a, 0.01*a)", "a*tanh(softplus(a))",
    "a*Phi(a)",
)  # fmt: skip
SURROGATE_BINARY = ("a + b", "a - b", "a*b", "a/b", "a**b", "max(a, b)", "min(a, b)")
SURROGATE_NARY = ("a + b", "a*b", "max(a, b)", "min(a, b)")
SURROGATE_TEMPLATES = (
    "u(u(x))", "b(u(x), u(x))", "n(u(x), u(x), u(x))", "u(b(u(x), u(x)))", "b(u(u(x)), u(x))", "b(u(x), u(u(x)))",
)  # fmt: skip
