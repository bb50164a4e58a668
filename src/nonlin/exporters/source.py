"""Writes lowered expressions as lines of code of one target."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Sequence

from nonlin.exporters.spelling import SPELLINGS, Target, expand
from nonlin.expr import Call, Const, Expr, Symbol
from nonlin.expr.lowering import fold_numbers, lower

# A spelling that brackets its arguments itself, and needs no brackets.
_CALL = re.compile(r"[\w.]+@?\(\{0\}(, \{1\})?\)$")


class Lines:
    """A body of assignments, one for each part that is used more than once.

    Parameters
    ----------
    target : column of the table of spellings
    names : what each symbol of the expression is called
    assign : format of an assignment of {value} to {name}
    number : how a number is written
    """

    def __init__(self, target: Target, names: dict[str, str], assign: str, number: Callable[[float], str]):
        self.target, self.names, self.assign, self.number = target, {"x": "x", **names}, assign, number
        self.lines: list[str] = []
        self._known: dict[Expr, str] = {}
        self._uses: Counter[Expr] = Counter()

    def add(self, outputs: Sequence[Expr]) -> list[str]:
        """The code of each expression; what they share is put into `lines`."""
        nodes = [fold_numbers(expand(fold_numbers(node), self.target)) for node in outputs]
        for node in nodes:
            self._count(node)
        return [_bare(self._code(node)) for node in nodes]

    def _count(self, node: Expr) -> None:
        self._uses[node] += 1
        if self._uses[node] == 1:
            for arg in node.args:
                self._count(arg)

    def _code(self, node: Expr) -> str:
        if isinstance(node, Const):
            text = self.number(node.value)
            return f"({text})" if text.startswith("-") else text
        if isinstance(node, Symbol):
            return self.names[node.name]
        assert isinstance(node, Call)
        if node in self._known:
            return self._known[node]
        text = self._call(node)
        if self._uses[node] > 1:
            return self._name(node, text)
        return text

    def _call(self, node: Call) -> str:
        exponent = node.args[1] if node.name == "pow" else None
        if isinstance(exponent, Const) and exponent.value in (2, 3, 4):
            base = self._code(node.args[0])
            if not base.isidentifier():
                base = self._name(node.args[0], base)
            return f"({' * '.join([base] * int(exponent.value))})"
        template: str = getattr(SPELLINGS[node.name], self.target)
        codes = map(self._code, node.args)
        return template.format(*map(_bare, codes)) if _CALL.match(template) else f"({template.format(*codes)})"

    def _name(self, node: Expr, text: str) -> str:
        name = f"t{len(self._known)}"
        self._known[node] = name
        self.lines.append(self.assign.format(name=name, value=_bare(text)))
        return name


def _bare(text: str) -> str:
    """A text without the brackets around the whole of it."""
    depth = 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if not depth:
            return text[1:-1] if place and place == len(text) - 1 and text[0] == "(" else text
    return text


def prepared(outputs: tuple[Expr, ...], parameters: tuple[str, ...]) -> tuple[list[Expr], tuple[bool, ...]]:
    """The lowered expressions, and which of them might hide a NaN in x."""
    lowered = [lower(node, parameters) for node in outputs]
    return lowered, tuple(not _passes_nan(node) for node in lowered)


def _passes_nan(node: Expr) -> bool:
    """Whether a NaN in x surely shows: no operator in the tree chooses between its arguments."""
    if isinstance(node, Call):
        if node.operator.boolean or node.name in ("where", "heaviside", "sign", "mul0", "clip", "max", "min", "relu"):
            return False
        return all(_passes_nan(arg) for arg in node.args)
    return True


def identifier(name: str, capital: bool = False) -> str:
    """A name for code: swish_t_a, or SwishTA."""
    word = re.sub(r"\W+", "_", name).strip("_").lower() or "activation"
    word = word if len(word) <= 40 and not word[0].isdigit() else "activation"
    return "".join(part.capitalize() for part in word.split("_")) if capital else word


def argument_names(parameters: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """What the parameters are called in code: their own names, with an underscore where that is taken."""
    bad = {"x", *taken}
    names: dict[str, str] = {}
    for name in parameters:
        clash = name in bad or keyword.iskeyword(name) or re.fullmatch(r"t\d+", name) or not name.isascii()
        names[name] = f"{name if name.isascii() else 'p'}_{len(names)}" if clash else name
    return names
