"""Simplification to a normal form: sums and products are collected and sorted, then rules apply.

The result has the value of the original wherever both are finite, is usually better conditioned
(``log(1+exp(x))`` becomes softplus), and is the same for many ways to write one function. It takes
about 0.1 ms per operator and always ends: each rule is tried once per collected sum or product, and
the number of passes is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from nonlin.expr import rules
from nonlin.expr.collect import (
    NUMBER,
    Collected,
    assemble,
    collect,
    factors_of,
    in_order,
    join,
    merge,
    raised,
    scaled,
    sort_key,
    terms_of,
)
from nonlin.expr.operators import EVEN, MAX_EXPONENT, OPERATORS
from nonlin.expr.parse import parse
from nonlin.expr.tree import ONE, ZERO, Call, Const, Expr, Symbol, call, is_call, substitute

MAX_PASSES = 20


@lru_cache(maxsize=65536)
def simplify(node: Expr) -> Expr:
    """The normal form of `node`."""
    if not isinstance(node, Call):
        return node
    args = tuple([simplify(arg) for arg in node.args])
    name = node.name
    if all(type(arg) is Const for arg in args):
        if (folded := _fold(node, args)) is not None:
            return folded
    if name in ("add", "sub"):
        return _sum(join(((args[0], 1.0), (args[1], 1.0 if name == "add" else -1.0)), terms_of))
    if name == "neg":
        return _sum(join(((args[0], -1.0),), terms_of))
    if name in ("mul", "div"):
        return _product(join(((args[0], 1.0), (args[1], 1.0 if name == "mul" else -1.0)), factors_of))
    if name == "pow":
        return _power(*args)
    if name == "where" and isinstance(args[0], Const):
        return args[1] if args[0].value else args[2]
    if node.operator.commutative:
        args = tuple(sorted(args, key=sort_key))
    return _function(call(name, *args))


def is_settled(node: Expr) -> bool:
    """Whether a result of `simplify` stays as it is when it is simplified once more.

    Only a number before a sum and further factors does not: in 2*(1 + x)*exp(x) it is distributed then, and not at
    first, when terms that differ in their number alone can still be collected.
    """
    parts = [node]
    while parts:
        part = parts.pop()
        parts += part.args
        number = is_call(part, "neg") or (is_call(part, "mul") and type(part.args[0]) is Const)
        if number and is_call(part.args[-1], "add", "sub", "neg"):
            return False
    return True


# Numbers


_ARITHMETIC: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b, "pow": lambda a, b: a**b if b == int(b) else math.nan,
    "neg": lambda a: -a, "abs": abs, "max": max, "min": min, "relu": lambda a: max(a, 0.0),
    "lt": lambda a, b: float(a < b), "le": lambda a, b: float(a <= b),
    "gt": lambda a, b: float(a > b), "ge": lambda a, b: float(a >= b), "floor": math.floor,
    "where": lambda c, a, b: a if c else b, "clip": lambda a, b, c: min(max(a, b), c),
    "sign": lambda a: float((a > 0) - (a < 0)),
    "heaviside": lambda a, b: 1.0 if a > 0 else 0.0 if a < 0 else b,
}  # fmt: skip
_AT_ZERO = {
    "exp": 1, "expm1": 0, "log1p": 0, "sqrt": 0, "sigmoid": 0.5, "sin": 0, "cos": 1, "tan": 0,
    "asin": 0, "atan": 0, "sinc": 1, "sinh": 0, "cosh": 1, "tanh": 0, "sech": 1, "asinh": 0,
    "atanh": 0, "erf": 0, "erfc": 1, "Phi": 0.5,
}  # fmt: skip


def _fold(node: Call, args: tuple[Expr, ...]) -> Expr | None:
    """The value of arithmetic on numbers, and of a function where it is a short number: cos(0) -> 1."""
    values = [arg.value for arg in args]  # type: ignore[attr-defined]
    if node.name in _ARITHMETIC:
        try:
            value = _ARITHMETIC[node.name](*values)
        except (ArithmeticError, ValueError):
            return None
        ok = isinstance(value, float | int) and math.isfinite(value)
        return Const(value) if ok else None
    if values == [0.0] and node.name in _AT_ZERO:
        return Const(_AT_ZERO[node.name])
    if node.name == "log" and values == [1.0]:
        return ZERO
    if node.name == "sqrt" and values[0] >= 0 and math.sqrt(values[0]) == int(math.sqrt(values[0])):
        return Const(math.sqrt(values[0]))
    return None


# Sums


def _sum(terms: Collected) -> Expr:
    terms = _rewrite_pairs(_unmixed(terms), _sum_rules, terms_of)
    terms = {term: factor for term, factor in terms.items() if factor != 0}
    if not terms:
        return ZERO
    constant = terms.pop(ONE, 0.0)
    ordered = in_order(terms)
    # a positive term first: b - a reads better than -a + b
    ordered.sort(key=lambda term: terms[term] < 0)
    result: Expr | None = Const(constant) if constant and (not ordered or terms[ordered[0]] < 0) else None
    trailing = constant if result is None else 0.0
    for term in ordered:
        factor = terms[term]
        if result is None:
            result = scaled(term, factor)
        else:
            result = call("add" if factor > 0 else "sub", result, scaled(term, abs(factor)))
    if trailing:
        result = call("add" if trailing > 0 else "sub", result, Const(abs(trailing)))  # type: ignore[arg-type]
    assert result is not None
    return result


def _unmixed(terms: Collected) -> Collected:
    """p·a + (1-p)·a -> a for a symbol p and any a: a mixture of a function with itself."""
    if len(terms) < 2:
        return terms
    for term, weight in terms.items():
        for key, exponent in factors_of(term):
            if exponent != 1 or not is_call(key, "sub") or ONE not in key.args:
                continue
            p, sign = (key.args[1], 1) if key.args[0] == ONE else (key.args[0], -1)  # 1 - p, or p - 1
            rest = {base: power for base, power in factors_of(term) if base != key}
            if not isinstance(p, Symbol) or p in rest:
                continue
            for other in terms:
                if terms[other] == sign * weight and dict(factors_of(other)) == {**rest, p: 1.0}:
                    left = {part: factor for part, factor in terms.items() if part not in (term, other)}
                    return _unmixed(merge(left, join(((assemble(rest), sign * weight),), terms_of)))
    return terms


# Products


def _product(factors: Collected) -> Expr:
    coefficient = factors.pop(NUMBER, 1.0)
    if coefficient == 0:
        return ZERO
    exponentials = [base for base in factors if is_call(base, "exp")]
    if exponentials and (len(exponentials) > 1 or factors[exponentials[0]] != 1):
        # exp(a)**m * exp(b)**n -> exp(m*a + n*b)
        total: Expr = ZERO
        for base in exponentials:
            total = total + Const(factors.pop(base)) * base.args[0]
        combined = simplify(call("exp", total))
        factors = merge(factors, join(((combined, 1.0),), factors_of))
        coefficient *= factors.pop(NUMBER, 1.0)
    for base in list(factors):
        if factors.get(base, 0) < 0:
            for pattern, replacement in _reciprocal_rules():
                if (bound := match(pattern, base, {})) is not None:
                    inverse = simplify(call("div", ONE, substitute(replacement, bound)))
                    exponent = -factors.pop(base)
                    factors = merge(factors, dict(raised(factors_of(inverse), exponent)))
                    break
    factors = _rewrite_pairs(factors, _product_rules, factors_of)
    coefficient *= factors.pop(NUMBER, 1.0)
    factors = {base: exponent for base, exponent in factors.items() if exponent != 0}
    if len(factors) == 1 and coefficient != 1:
        ((base, exponent),) = factors.items()
        if exponent == 1 and is_call(base, "add", "sub", "neg"):
            # a number times a sum is distributed: -(a - b) -> b - a
            return _sum({t: c * coefficient for t, c in join(((base, 1.0),), terms_of).items()})
    return assemble(factors, coefficient)


def _power(base: Expr, exponent: Expr) -> Expr:
    if isinstance(exponent, Const):
        n = exponent.value
        if n == 0:
            return ONE
        if n == 1:
            return base
        if n == int(n):
            factors = list(factors_of(base))
            if all(abs(power * n) <= MAX_EXPONENT for key, power in factors if key is not NUMBER):
                return _product(collect(raised(factors, n)))
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
        # not simplify(-a), which would begin with the parts of a again: -(beta + x)*b -> -(-beta - x)*b -> ...
        flipped = _sum(join(((node.args[0], -1.0),), terms_of))
        inner = _function(call(node.name, flipped))
        return inner if symmetry == EVEN else _sum(join(((inner, -1.0),), terms_of))
    if node.name in ("abs", "relu") and is_call(node.args[0], "mul", "div", "neg"):
        # abs(2*a) -> 2*abs(a), relu(2*a) -> 2*relu(a)
        factors = join(((node.args[0], 1.0),), factors_of)
        size = factors.pop(NUMBER, 1.0)
        if abs(size) != 1:
            rest = assemble(factors, math.copysign(1.0, size))
            return _product(merge({NUMBER: abs(size)}, {_function(call(node.name, rest)): 1.0}))
    if node.name in ("spherical_j",) and node.args[0] == ZERO:
        return _function(call("sinc", node.args[1]))
    for pattern, replacement in _whole_rules(node.name, tuple([_head(arg) for arg in node.args])):
        if (bound := match(pattern, node, {})) is not None:
            return simplify(substitute(replacement, bound))
    return node


def _leads_negative(node: Expr) -> bool:
    """Whether f(node) is written with f(-node): exactly one of the two is, for every node."""
    if isinstance(node, Const):
        return node.value < 0
    terms = join(((node, 1.0),), terms_of)
    first = in_order(terms)[0]
    return terms[first] < 0


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


PairRule = tuple[Call, float, Expr, float, Expr]
PairRules = Callable[[], tuple[PairRule, ...]]


def _rewrite_pairs(parts: Collected, pair_rules: PairRules, split: Callable) -> Collected:
    """Replace two terms (factors) whose weights are in a rule's ratio, until no rule applies."""
    for _ in range(MAX_PASSES):
        if len(parts) < 2:
            return parts
        for replacement in _pair_matches(parts, pair_rules):
            first, second, result, weight = replacement
            rest = {key: value for key, value in parts.items() if key not in (first, second)}
            parts = merge(rest, join(((result, weight),), split))
            break
        else:
            return parts
    return parts


def _pair_matches(parts: Collected, pair_rules: PairRules):
    present = frozenset([_head(part) for part in parts])
    for left, left_weight, right, right_weight, result in _applicable(pair_rules, present):
        for first in parts:
            if not is_call(first, left.name) or (bound := match(left, first, {})) is None:
                continue
            weight = parts[first] / left_weight
            for second in parts:
                if second is first or second is NUMBER or parts[second] != weight * right_weight:
                    continue
                if (both := match(right, second, bound)) is not None:
                    yield first, second, simplify(substitute(result, both)), weight


def _head(part: Expr) -> str:
    """What a pattern must agree with first: the operator, "1", or nothing in particular."""
    return part.name if isinstance(part, Call) else "1" if part == ONE else ""


@lru_cache(maxsize=4096)
def _applicable(pair_rules: PairRules, present: frozenset[str]) -> tuple[PairRule, ...]:
    """The rules whose two parts can be among parts with these heads: most often none."""
    return tuple(rule for rule in pair_rules() if rule[0].name in present and _head(rule[2]) in present | {""})


@lru_cache(maxsize=4096)
def _whole_rules(name: str, heads: tuple[str, ...]) -> tuple[tuple[Expr, Expr], ...]:
    """Those for calls of one operator with such arguments: most often none."""

    def fits(pattern: Expr) -> bool:
        needed = [_head(arg) if isinstance(arg, Call) and arg.name != "neg" else "" for arg in pattern.args]
        orders = (heads, heads[::-1]) if OPERATORS[name].commutative else (heads,)
        return any(
            all(want in ("", head) for want, head in zip(needed, order, strict=True)) for order in orders
        )  # fmt: skip

    compiled = ((parse(left), parse(right)) for left, right in rules.WHOLE)
    return tuple(rule for rule in compiled if is_call(rule[0], name) and fits(rule[0]))


@lru_cache(maxsize=1)
def _reciprocal_rules() -> tuple[tuple[Expr, Expr], ...]:
    return tuple((parse(left), parse(right)) for left, right in rules.RECIPROCAL)


def _pair_rules(table: tuple[tuple[str, str], ...], split: Callable) -> tuple[PairRule, ...]:
    compiled = []
    for left, right in table:
        tree = parse(left)
        parts = list(join(((tree.args[0], 1.0), (tree.args[1], _second_sign(tree))), split).items())
        (first, first_weight), (second, second_weight) = parts
        if not isinstance(first, Call):  # start from the side that says most
            (first, first_weight), (second, second_weight) = parts[::-1]
        assert isinstance(first, Call)
        compiled.append((first, first_weight, second, second_weight, parse(right)))
    return tuple(compiled)


def _second_sign(tree: Expr) -> float:
    return -1.0 if is_call(tree, "sub", "div") else 1.0


@lru_cache(maxsize=1)
def _sum_rules() -> tuple[PairRule, ...]:
    return _pair_rules(rules.SUM, terms_of)


@lru_cache(maxsize=1)
def _product_rules() -> tuple[PairRule, ...]:
    return _pair_rules(rules.PRODUCT, factors_of)
