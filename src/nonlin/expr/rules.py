"""Rewrite rules, one per line: what stands left is replaced by what stands right.

a and b stand for any expression. Sums and products match in any order, as parts of longer sums and
products and with a common factor (a common exponent): ``1 - sigmoid(a)`` also matches in
``x + 3 - 3*sigmoid(2*x)``. Every rule keeps the value wherever both sides are finite, and most make
it more accurate; tests check each one numerically.
"""

from __future__ import annotations

# One term or function
WHOLE = (
    ("max(a, a)", "a"),
    ("min(a, a)", "a"),
    ("max(a, 0)", "relu(a)"),
    ("min(a, 0)", "-relu(-a)"),
    ("relu(relu(a))", "relu(a)"),
    ("relu(abs(a))", "abs(a)"),
    ("relu(exp(a))", "exp(a)"),
    ("relu(sigmoid(a))", "sigmoid(a)"),
    ("relu(softplus(a))", "softplus(a)"),
    ("abs(abs(a))", "abs(a)"),
    ("abs(relu(a))", "relu(a)"),
    ("abs(exp(a))", "exp(a)"),
    ("abs(sigmoid(a))", "sigmoid(a)"),
    ("abs(softplus(a))", "softplus(a)"),
    ("sqrt(a**2)", "abs(a)"),
    ("where(a, b, b)", "b"),
    ("log(exp(a))", "a"),
    ("log(sigmoid(a))", "-softplus(-a)"),
    ("logsigmoid(a)", "-softplus(-a)"),
    ("log(1 + exp(a))", "softplus(a)"),
    ("log1p(exp(a))", "softplus(a)"),
    ("log(1 + a)", "log1p(a)"),
    ("log1p(expm1(a))", "a"),
)

# Two terms of a sum, with a common factor
SUM = (
    ("1 - sigmoid(a)", "sigmoid(-a)"),
    ("sigmoid(a) + sigmoid(-a)", "1"),
    ("1 - tanh(a)**2", "sech(a)**2"),
    ("1 + tanh(a)", "2*sigmoid(2*a)"),
    ("1 - tanh(a)", "2*sigmoid(-2*a)"),
    ("1 - sech(a)**2", "tanh(a)**2"),
    ("1 - erf(a)", "erfc(a)"),
    ("1 + erf(a)", "erfc(-a)"),
    ("1 - erfc(a)", "erf(a)"),
    ("erf(a) + erfc(a)", "1"),
    ("1 - Phi(a)", "Phi(-a)"),
    ("Phi(a) + Phi(-a)", "1"),
    ("exp(a) - 1", "expm1(a)"),
    ("1 + expm1(a)", "exp(a)"),
    ("sin(a)**2 + cos(a)**2", "1"),
    ("cosh(a)**2 - sinh(a)**2", "1"),
    ("1 + 2*cos(a)*sin(a)", "(cos(a) + sin(a))**2"),
    ("1 - 2*cos(a)*sin(a)", "(cos(a) - sin(a))**2"),
    ("relu(a) - relu(-a)", "a"),
    ("relu(a) + relu(-a)", "abs(a)"),
    ("a + relu(-a)", "relu(a)"),
    ("softplus(a) - softplus(-a)", "a"),
    ("max(a, b) + min(a, b)", "a + b"),
    # the quotient rule's two terms, which cancel where a is large
    ("1/(1 + a) - a/(1 + a)**2", "1/(1 + a)**2"),
    ("1/sqrt(1 + a) - a/sqrt(1 + a)**3", "1/sqrt(1 + a)**3"),
)

# Two factors of a product, with a common exponent
PRODUCT = (
    ("abs(a)*sign(a)", "a"),
    ("a*sign(a)", "abs(a)"),
    ("exp(a)*sigmoid(-a)", "sigmoid(a)"),
    ("cosh(a)*sech(a)", "1"),
    ("cosh(a)*tanh(a)", "sinh(a)"),
    ("sinh(a)*sech(a)", "tanh(a)"),
    ("cos(a)*tan(a)", "sin(a)"),
    ("sin(a)/cos(a)", "tan(a)"),
    ("sinh(a)/cosh(a)", "tanh(a)"),
    ("sin(a)/a", "sinc(a)"),
)

# A factor with a negative exponent, 1/left
RECIPROCAL = (
    ("1 + exp(a)", "1/sigmoid(-a)"),
    ("cosh(a)", "1/sech(a)"),
)
