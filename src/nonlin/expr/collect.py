"""Sums and products as dictionaries, the form in which simplification works.

A sum is {term: coefficient}, its number standing under ONE; a product is {base: exponent}, its number (the
coefficient) standing under NUMBER. Everything here takes already simplified expressions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from fractions import Fraction
from functools import lru_cache

from nonlin.expr.operators import MAX_EXPONENT
from nonlin.expr.text import to_nameless_text, to_text
from nonlin.expr.tree import ONE, Call, Const, Expr, Symbol, call, is_call

Part = tuple[Expr, float]
Collected = dict[Expr, float]  # term -> coefficient, or base -> exponent
NUMBER = Symbol("<number>")


@lru_cache(maxsize=65536)
def sort_key(node: Expr) -> tuple:
    """A total order that does not depend on parameter names: numbers, symbols, then calls by text."""
    if isinstance(node, Const):
        return (0, node.value, "")
    if isinstance(node, Symbol):
        return (1, 0.0 if node.name != "x" else 1.0, node.name)
    return (2, 0.0, to_nameless_text(node), to_text(node))


def in_order(parts: Collection[Expr]) -> list[Expr]:
    """Sorted by `sort_key`, which writes the parts down: not done for one alone."""
    return sorted(parts, key=sort_key) if len(parts) > 1 else [*parts]


def collect(pairs: Iterable[Part]) -> Collected:
    """Add up what stands under one key; numbers of a product multiply."""
    total: Collected = {}
    for key, value in pairs:
        if key is NUMBER:
            total[key] = total.get(key, 1.0) * value
        else:
            total[key] = total.get(key, 0.0) + value
            if isinstance(key, Const) and key != ONE and abs(total[key]) >= 1:  # sqrt(2)*sqrt(2) -> 2
                whole = math.trunc(total[key])
                total[key] -= whole
                total[NUMBER] = total.get(NUMBER, 1.0) * key.value**whole
    if 0.0 not in total.values():
        return total
    return {key: value for key, value in total.items() if value != 0 or key is NUMBER}


def join(parts: Iterable[Part], split: Callable) -> Collected:
    """Sum (or product) of parts, each with its factor (exponent)."""
    pairs: list[Part] = []
    for part, factor in parts:
        if factor == 1:
            pairs += split(part)
        elif split is factors_of:
            pairs += raised(factors_of(part), factor)
        else:
            pairs += [(term, factor * coefficient) for term, coefficient in terms_of(part)]
    return collect(pairs)


def merge(left: Collected, right: Collected) -> Collected:
    return collect([*left.items(), *right.items()])


@lru_cache(maxsize=65536)
def terms_of(node: Expr) -> tuple[Part, ...]:
    """The terms of an already simplified expression."""
    if isinstance(node, Const):
        return ((ONE, node.value),)
    if is_call(node, "neg"):
        return tuple([(term, -factor) for term, factor in terms_of(node.args[0])])
    if is_call(node, "add"):
        return terms_of(node.args[0]) + terms_of(node.args[1])
    if is_call(node, "sub"):
        return terms_of(node.args[0]) + tuple([(term, -factor) for term, factor in terms_of(node.args[1])])
    if not is_call(node, "mul", "div", "pow", "sqrt"):
        return ((node, 1.0),)
    factors = join(((node, 1.0),), factors_of)
    coefficient = factors.pop(NUMBER, 1.0)
    return ((assemble(factors), coefficient),)


def scaled(term: Expr, factor: float) -> Expr:
    if factor == 1:
        return term
    factors = join(((term, 1.0),), factors_of)
    factor *= factors.pop(NUMBER, 1.0)  # the 1 of 1/(1 + x)
    return assemble(factors, factor)


@lru_cache(maxsize=65536)
def factors_of(node: Expr) -> tuple[Part, ...]:
    """The factors of an already simplified expression."""
    if isinstance(node, Const):
        return ((NUMBER, node.value),)
    if not isinstance(node, Call):
        return ((node, 1.0),)
    name, args = node.name, node.args
    if name == "neg":
        return ((NUMBER, -1.0), *factors_of(args[0]))
    if name == "mul":
        return factors_of(args[0]) + factors_of(args[1])
    if name == "div":
        return factors_of(args[0]) + tuple(raised(factors_of(args[1]), -1.0))
    if name == "pow" and isinstance(args[1], Const):
        exponent = args[1].value
        whole = exponent == int(exponent)
        return tuple(raised(factors_of(args[0]), exponent)) if whole else ((args[0], exponent),)
    if name == "sqrt" and isinstance(args[0], Const) and args[0].value > 0:
        return ((args[0], 0.5),)
    return ((node, 1.0),)


def raised(factors: Iterable[Part], exponent: float) -> list[Part]:
    """(c·aᵐ·…)ⁿ for whole n; a number that cannot be raised (0 to -1, overflow) stays a factor."""
    powers: list[Part] = []
    for base, power in factors:
        if base is NUMBER:
            try:
                value = power**exponent
                fits = isinstance(value, float) and math.isfinite(value) and (value != 0 or power == 0)
            except ArithmeticError:
                fits = False
            powers.append((NUMBER, value) if fits else (call("pow", power, exponent), 1.0))
        else:
            powers.append((base, power * exponent))
    return powers


def assemble(factors: Collected, coefficient: float = 1.0) -> Expr:
    """c·a·b²/(d·e) from its factors, sorted."""
    if len(factors) == 1 and coefficient == 1:
        ((base, exponent),) = factors.items()
        if exponent == 1:
            return base
    ordered = in_order(factors)
    above = [power for base in ordered if factors[base] > 0 for power in _powers(base, factors[base])]
    below = [power for base in ordered if factors[base] < 0 for power in _powers(base, -factors[base])]
    if len(repr(coefficient)) > 8:  # 0.16666666666666666*x -> x/6
        fraction = Fraction(coefficient).limit_denominator(1000)
        if float(fraction) == coefficient and fraction.denominator != 1:
            below.insert(0, Const(fraction.denominator))
            coefficient = float(fraction.numerator)
    if coefficient != 1 and coefficient != -1:
        above.insert(0, Const(coefficient))
    if not above:
        above = [Const(coefficient)]
        coefficient = 1.0
    if coefficient == -1:
        above[0] = call("neg", above[0])
    numerator = _chain(above)
    return call("div", numerator, _chain(below)) if below else numerator


def _chain(factors: list[Expr]) -> Expr:
    result = factors[0]
    for factor in factors[1:]:
        result = call("mul", result, factor)
    return result


def _powers(base: Expr, exponent: float) -> list[Expr]:
    """base**exponent, as several factors where the exponent is beyond what the parser reads."""
    if exponent == 1:
        return [base]
    if exponent == 0.5 and isinstance(base, Const):
        return [call("sqrt", base)]
    whole = [MAX_EXPONENT] * int(exponent / MAX_EXPONENT)
    rest = exponent - sum(whole)
    powers = [call("pow", base, Const(n)) for n in whole]
    return powers + ([base] if rest == 1 else [call("pow", base, Const(rest))] if rest else [])
