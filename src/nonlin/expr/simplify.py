"""Simplification to a normal form: sums and products are collected and sorted, then rules apply.

The result has the value of the original wherever both are finite, is usually better conditioned
(``log(1+exp(x))`` becomes softplus), and is the same for many ways to write one function. It takes
about 0.1 ms per operator and always ends: each rule is tried once per collected sum or product, and
the number of passes is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache

from nonlin.expr import rules
from nonlin.expr.operators import EVEN, MAX_EXPONENT
from nonlin.expr.parse import parse
from nonlin.expr.text import to_text
from nonlin.expr.tree import ONE, ZERO, Call, Const, Expr, Symbol, call, is_call, substitute

Collected = dict[Expr, float]  # term -> coefficient, or base -> exponent
MAX_PASSES = 20


@lru_cache(maxsize=65536)
def simplify(node: Expr) -> Expr:
    """The normal form of `node`."""
    if not isinstance(node, Call):
        return node
    args = tuple(simplify(arg) for arg in node.args)
    name = node.name
    if all(isinstance(arg, Const) for arg in args):
        if (folded := _fold(node, args)) is not None:
            return folded
    if name in ("add", "sub"):
        return _sum(_join(((args[0], 1.0), (args[1], 1.0 if name == "add" else -1.0)), _terms))
    if name == "neg":
        return _sum(_join(((args[0], -1.0),), _terms))
    if name in ("mul", "div"):
        return _product(_join(((args[0], 1.0), (args[1], 1.0 if name == "mul" else -1.0)), _factors))
    if name == "pow":
        return _power(*args)
    if name == "where" and isinstance(args[0], Const):
        return args[1] if args[0].value else args[2]
    if node.operator.commutative:
        args = tuple(sorted(args, key=sort_key))
    return _function(call(name, *args))


def sort_key(node: Expr) -> tuple:
    """A total order that does not depend on parameter names: numbers, symbols, then calls by text."""
    if isinstance(node, Const):
        return (0, node.value, "")
    if isinstance(node, Symbol):
        return (1, 0.0 if node.name != "x" else 1.0, node.name)
    return (2, 0.0, _anonymous(node), to_text(node))


@lru_cache(maxsize=65536)
def _anonymous(node: Expr) -> str:
    return to_text(substitute(node, {name: Symbol("_") for name in node.parameters}))


# Numbers


def _fold(node: Call, args: tuple[Expr, ...]) -> Expr | None:
    """The value of arithmetic on numbers, and of a function where it is a short number: cos(0) -> 1."""
    values = [arg.value for arg in args]  # type: ignore[attr-defined]
    arithmetic: dict[str, Callable[..., float]] = {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b, "pow": lambda a, b: a**b if b == int(b) else math.nan,
        "neg": lambda a: -a, "abs": abs, "max": max, "min": min, "relu": lambda a: max(a, 0.0),
        "lt": lambda a, b: float(a < b), "le": lambda a, b: float(a <= b),
        "gt": lambda a, b: float(a > b), "ge": lambda a, b: float(a >= b), "floor": math.floor,
        "where": lambda c, a, b: a if c else b, "clip": lambda a, b, c: min(max(a, b), c),
        "sign": lambda a: float((a > 0) - (a < 0)),
        "heaviside": lambda a, b: 1.0 if a > 0 else 0.0 if a < 0 else b,
    }  # fmt: skip
    if node.name in arithmetic:
        try:
            value = arithmetic[node.name](*values)
        except (ArithmeticError, ValueError):
            return None
        ok = isinstance(value, float | int) and math.isfinite(value)
        return Const(value) if ok else None
    at_zero = {
        "exp": 1, "expm1": 0, "log1p": 0, "sqrt": 0, "sigmoid": 0.5, "sin": 0, "cos": 1, "tan": 0,
        "asin": 0, "atan": 0, "sinc": 1, "sinh": 0, "cosh": 1, "tanh": 0, "sech": 1, "asinh": 0,
        "atanh": 0, "erf": 0, "erfc": 1, "Phi": 0.5,
    }  # fmt: skip
    if values == [0.0] and node.name in at_zero:
        return Const(at_zero[node.name])
    if node.name == "log" and values == [1.0]:
        return ZERO
    if node.name == "sqrt" and values[0] >= 0 and math.sqrt(values[0]) == int(math.sqrt(values[0])):
        return Const(math.sqrt(values[0]))
    return None


# Sums: {term: coefficient}; the number itself stands under ONE


def _terms(node: Expr) -> Iterable[tuple[Expr, float]]:
    """The terms of an already simplified expression."""
    if isinstance(node, Const):
        return ((ONE, node.value),)
    if is_call(node, "neg"):
        return ((term, -factor) for term, factor in _terms(node.args[0]))
    if is_call(node, "add", "sub"):
        sign = 1.0 if is_call(node, "add") else -1.0
        return (*_terms(node.args[0]), *((t, sign * c) for t, c in _terms(node.args[1])))
    factors = _join(((node, 1.0),), _factors)
    coefficient = factors.pop(_NUMBER, 1.0)
    return ((_assemble(factors), coefficient),)


def _sum(terms: Collected) -> Expr:
    terms = _rewrite_pairs(terms, _sum_rules(), _terms)
    terms = {term: factor for term, factor in terms.items() if factor != 0}
    if not terms:
        return ZERO
    constant = terms.pop(ONE, 0.0)
    ordered = sorted(terms, key=sort_key)
    # a positive term first: b - a reads better than -a + b
    ordered.sort(key=lambda term: terms[term] < 0)
    result: Expr | None = Const(constant) if constant and (not ordered or terms[ordered[0]] < 0) else None
    trailing = constant if result is None else 0.0
    for term in ordered:
        size = _scaled(term, abs(terms[term]))
        if result is None:
            result = _scaled(term, terms[term])
        else:
            result = call("add" if terms[term] > 0 else "sub", result, size)
    if trailing:
        result = call("add" if trailing > 0 else "sub", result, Const(abs(trailing)))  # type: ignore[arg-type]
    assert result is not None
    return result


def _scaled(term: Expr, factor: float) -> Expr:
    if factor == 1:
        return term
    factors = _join(((term, 1.0),), _factors)
    factor *= factors.pop(_NUMBER, 1.0)  # the 1 of 1/(1 + x)
    return _assemble(factors, factor)


# Products: {base: exponent}; the number stands under _NUMBER as coefficient

_NUMBER = Symbol("<number>")


def _factors(node: Expr) -> Iterable[tuple[Expr, float]]:
    if isinstance(node, Const):
        return ((_NUMBER, node.value),)
    if is_call(node, "neg"):
        return ((_NUMBER, -1.0), *_factors(node.args[0]))
    if is_call(node, "mul"):
        return (*_factors(node.args[0]), *_factors(node.args[1]))
    if is_call(node, "div"):
        return (*_factors(node.args[0]), *_raised(_factors(node.args[1]), -1.0))
    if is_call(node, "pow") and isinstance(node.args[1], Const):
        exponent = node.args[1].value
        whole = exponent == int(exponent)
        return _raised(_factors(node.args[0]), exponent) if whole else ((node.args[0], exponent),)
    if is_call(node, "sqrt") and isinstance(node.args[0], Const) and node.args[0].value > 0:
        return ((node.args[0], 0.5),)
    return ((node, 1.0),)


def _raised(factors: Iterable[tuple[Expr, float]], exponent: float) -> list[tuple[Expr, float]]:
    """(c·aᵐ·…)ⁿ for whole n; a number that cannot be raised (0 to -1, overflow) stays a factor."""
    raised = []
    for base, power in factors:
        if base is _NUMBER:
            try:
                value = power**exponent
                fits = isinstance(value, float) and math.isfinite(value) and (value != 0 or power == 0)
            except ArithmeticError:
                fits = False
            raised.append((_NUMBER, value) if fits else (call("pow", power, exponent), 1.0))
        else:
            raised.append((base, power * exponent))
    return raised


def _product(factors: Collected) -> Expr:
    coefficient = factors.pop(_NUMBER, 1.0)
    if coefficient == 0:
        return ZERO
    exponentials = [base for base in factors if is_call(base, "exp")]
    if exponentials and (len(exponentials) > 1 or factors[exponentials[0]] != 1):
        # exp(a)**m * exp(b)**n -> exp(m*a + n*b)
        total: Expr = ZERO
        for base in exponentials:
            total = total + Const(factors.pop(base)) * base.args[0]
        combined = simplify(call("exp", total))
        factors = _merge(factors, _join(((combined, 1.0),), _factors))
        coefficient *= factors.pop(_NUMBER, 1.0)
    for base in list(factors):
        if factors.get(base, 0) < 0:
            for pattern, replacement in _reciprocal_rules():
                if (bound := match(pattern, base, {})) is not None:
                    inverse = simplify(call("div", ONE, substitute(replacement, bound)))
                    exponent = -factors.pop(base)
                    factors = _merge(factors, dict(_raised(_factors(inverse), exponent)))
                    break
    factors = _rewrite_pairs(factors, _product_rules(), _factors)
    coefficient *= factors.pop(_NUMBER, 1.0)
    factors = {base: exponent for base, exponent in factors.items() if exponent != 0}
    if len(factors) == 1 and coefficient != 1:
        ((base, exponent),) = factors.items()
        if exponent == 1 and is_call(base, "add", "sub", "neg"):
            # a number times a sum is distributed: -(a - b) -> b - a
            return _sum({t: c * coefficient for t, c in _join(((base, 1.0),), _terms).items()})
    return _assemble(factors, coefficient)


def _assemble(factors: Collected, coefficient: float = 1.0) -> Expr:
    """c·a·b²/(d·e) from its factors, sorted."""
    if len(factors) == 1 and coefficient == 1:
        ((base, exponent),) = factors.items()
        if exponent == 1:
            return base
    ordered = sorted(factors, key=sort_key)
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


def _power(base: Expr, exponent: Expr) -> Expr:
    if isinstance(exponent, Const):
        n = exponent.value
        if n == 0:
            return ONE
        if n == 1:
            return base
        if n == int(n):
            factors = list(_factors(base))
            if all(abs(power * n) <= MAX_EXPONENT for key, power in factors if key is not _NUMBER):
                return _product(_collect(_raised(factors, n)))
        if n == 0.5:
            return _function(call("sqrt", base))
        if n == -0.5:
            return _product({simplify(call("sqrt", base)): -1.0})
    if base == ONE:
        return ONE
    return call("pow", base, exponent)


# Functions: symmetry and rules


def _function(node: Call | Expr) -> Expr:
    assert isinstance(node, Call)
    symmetry = node.operator.symmetry
    if symmetry and node.name != "neg" and _leads_negative(node.args[0]):
        flipped = simplify(call("neg", node.args[0]))
        inner = _function(call(node.name, flipped))
        return inner if symmetry == EVEN else _sum(_join(((inner, -1.0),), _terms))
    if node.name in ("abs", "relu") and is_call(node.args[0], "mul", "div", "neg"):
        # abs(2*a) -> 2*abs(a), relu(2*a) -> 2*relu(a)
        factors = _join(((node.args[0], 1.0),), _factors)
        size = factors.pop(_NUMBER, 1.0)
        if abs(size) != 1:
            rest = _assemble(factors, math.copysign(1.0, size))
            return _product(_merge({_NUMBER: abs(size)}, {_function(call(node.name, rest)): 1.0}))
    if node.name in ("spherical_j",) and node.args[0] == ZERO:
        return _function(call("sinc", node.args[1]))
    for pattern, replacement in _whole_rules():
        if (bound := match(pattern, node, {})) is not None:
            return simplify(substitute(replacement, bound))
    return node


def _leads_negative(node: Expr) -> bool:
    """Whether f(node) is written with f(-node): exactly one of the two is, for every node."""
    if isinstance(node, Const):
        return node.value < 0
    terms = _join(((node, 1.0),), _terms)
    first = min(terms, key=sort_key)
    return terms[first] < 0


# Collecting


def _collect(pairs: Iterable[tuple[Expr, float]]) -> Collected:
    """Add up what stands under one key; numbers of a product multiply."""
    total: Collected = {}
    for key, value in pairs:
        if key is _NUMBER:
            total[key] = total.get(key, 1.0) * value
        else:
            total[key] = total.get(key, 0.0) + value
            if isinstance(key, Const) and key != ONE and abs(total[key]) >= 1:  # sqrt(2)*sqrt(2) -> 2
                whole = math.trunc(total[key])
                total[key] -= whole
                total[_NUMBER] = total.get(_NUMBER, 1.0) * key.value**whole
    return {key: value for key, value in total.items() if value != 0 or key is _NUMBER}


def _join(parts: Iterable[tuple[Expr, float]], split: Callable) -> Collected:
    """Sum (or product) of parts, each with its factor (exponent)."""
    pairs: list[tuple[Expr, float]] = []
    for part, factor in parts:
        if split is _factors:
            pairs.extend(_raised(_factors(part), factor) if factor != 1 else _factors(part))
        else:
            pairs.extend((term, factor * coefficient) for term, coefficient in _terms(part))
    return _collect(pairs)


def _merge(left: Collected, right: Collected) -> Collected:
    return _collect([*left.items(), *right.items()])


# Matching

Bindings = dict[str, Expr]


def match(pattern: Expr, node: Expr, bound: Bindings) -> Bindings | None:
    """Bind the pattern's symbols so that it equals `node`, or None. The pattern is simplified."""
    if isinstance(pattern, Symbol):
        if pattern.name in bound:
            return bound if bound[pattern.name] == node else None
        return {**bound, pattern.name: node}
    if is_call(pattern, "neg") and isinstance(pattern.args[0], Symbol):
        return match(pattern.args[0], simplify(call("neg", node)), bound)
    if isinstance(pattern, Const) or not isinstance(node, Call) or not isinstance(pattern, Call):
        return bound if pattern == node else None
    if pattern.name != node.name:
        return None
    orders = [node.args, node.args[::-1]] if node.operator.commutative else [node.args]
    for args in orders:
        result: Bindings | None = bound
        for inner, arg in zip(pattern.args, args, strict=True):
            result = match(inner, arg, result)  # type: ignore[arg-type]
            if result is None:
                break
        if result is not None:
            return result
    return None


PairRule = tuple[Expr, float, Expr, float, Expr]


def _rewrite_pairs(parts: Collected, pair_rules: tuple[PairRule, ...], split: Callable) -> Collected:
    """Replace two terms (factors) whose weights are in a rule's ratio, until no rule applies."""
    for _ in range(MAX_PASSES):
        if len(parts) < 2:
            return parts
        for replacement in _pair_matches(parts, pair_rules):
            first, second, result, weight = replacement
            rest = {key: value for key, value in parts.items() if key not in (first, second)}
            parts = _merge(rest, _join(((result, weight),), split))
            break
        else:
            return parts
    return parts


def _pair_matches(parts: Collected, pair_rules: tuple[PairRule, ...]):
    for left, left_weight, right, right_weight, result in pair_rules:
        for first in parts:
            if first is _NUMBER or (bound := match(left, first, {})) is None:
                continue
            weight = parts[first] / left_weight
            for second in parts:
                if second is first or second is _NUMBER or parts[second] != weight * right_weight:
                    continue
                if (both := match(right, second, bound)) is not None:
                    yield first, second, simplify(substitute(result, both)), weight


@lru_cache(maxsize=1)
def _whole_rules() -> tuple[tuple[Expr, Expr], ...]:
    return tuple((parse(left), parse(right)) for left, right in rules.WHOLE)


@lru_cache(maxsize=1)
def _reciprocal_rules() -> tuple[tuple[Expr, Expr], ...]:
    return tuple((parse(left), parse(right)) for left, right in rules.RECIPROCAL)


def _pair_rules(table: tuple[tuple[str, str], ...], split: Callable) -> tuple[PairRule, ...]:
    compiled = []
    for left, right in table:
        tree = parse(left)
        parts = list(_join(((tree.args[0], 1.0), (tree.args[1], _second_sign(tree))), split).items())
        (first, first_weight), (second, second_weight) = parts
        if not isinstance(first, Call):  # start from the side that says most
            (first, first_weight), (second, second_weight) = parts[::-1]
        compiled.append((first, first_weight, second, second_weight, parse(right)))
    return tuple(compiled)


def _second_sign(tree: Expr) -> float:
    return -1.0 if is_call(tree, "sub", "div") else 1.0


@lru_cache(maxsize=1)
def _sum_rules() -> tuple[PairRule, ...]:
    return _pair_rules(rules.SUM, _terms)


@lru_cache(maxsize=1)
def _product_rules() -> tuple[PairRule, ...]:
    return _pair_rules(rules.PRODUCT, _factors)
