"""Text to tree. Nothing is ever evaluated: Python's own parser gives the syntax, the table the meaning.

Formulas come from strangers, so the text's length, the tree's depth and size and constant
exponents are bounded, and only ASCII is read (look-alike letters are named in the error).
"""

from __future__ import annotations

import ast
import math
import unicodedata
import warnings
from functools import lru_cache

from nonlin.errors import FormulaError, suggest
from nonlin.expr.operators import FUNCTIONS, MAX_EXPONENT
from nonlin.expr.tree import Const, Expr, Symbol, call, is_call, size

MAX_TEXT, MAX_DEPTH, MAX_SIZE = 4000, 100, 1000

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_COMPARE = {ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}
_VARIADIC = {"max", "min"}
# Other spellings in use in the field, read as the row's own name.
SYNONYMS = {
    "arctan": "atan", "arcsin": "asin", "arccos": "acos", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "ln": "log", "maximum": "max", "minimum": "min", "clamp": "clip", "sgn": "sign",
    "log_sigmoid": "logsigmoid", "sigma": "sigmoid",
}  # fmt: skip
_ADVICE = {
    "^": "Powers are written with **, as in x**2.",
    "|": "The absolute value is written abs(x).",
    "=": "A formula is an expression, without '='.",
    ";": "A formula is one expression.",
}
_LETTERS = {
    "β": "beta", "α": "alpha", "γ": "gamma", "ε": "eps", "λ": "lam", "σ": "sigmoid", "Φ": "Phi",
    "φ": "phi", "π": "pi", "·": "*", "×": "*", "−": "-", "–": "-", "÷": "/", "²": "**2", "³": "**3",
    "√": "sqrt", "≥": ">=", "≤": "<=",
}  # fmt: skip


@lru_cache(maxsize=16384)
def parse(text: str) -> Expr:
    """Read a formula such as ``"x*sigmoid(beta*x)"``.

    Every name that is not a function or `pi` is a symbol: x is the pre-activation, all others are
    parameters.

    Raises
    ------
    FormulaError : with the place marked, what was expected and the remedy.
    """
    if not isinstance(text, str):
        raise FormulaError(str(text), f"A formula is text, not {type(text).__name__}.")
    text = text.strip()
    _check_text(text)
    tree = _Reader(text).read(_syntax(text).body, depth=1)
    if size(tree) > MAX_SIZE:
        raise FormulaError(text, f"The formula has more than {MAX_SIZE} parts; make it smaller.")
    return tree


def _check_text(text: str) -> None:
    if not text:
        raise FormulaError("", "The formula is empty. Write one such as x*sigmoid(x).")
    if len(text) > MAX_TEXT:
        raise FormulaError(text, f"The formula has {len(text)} characters; at most {MAX_TEXT} are read.")
    for place, letter in enumerate(text):
        if not " " <= letter <= "~" and letter not in "\t\n\r":
            name = unicodedata.name(letter, f"U+{ord(letter):04X}")
            if letter in _LETTERS:
                remedy = f"write {_LETTERS[letter]} instead."
            else:
                plain = unicodedata.normalize("NFKC", letter)
                remedy = f"did you mean {plain!r}?" if plain.isascii() and plain else "use ASCII letters."
            raise FormulaError(text, f"{name} is not read in formulas; {remedy}", place)


def _syntax(text: str) -> ast.Expression:
    flat = text.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "2(x)": our own message follows
            return ast.parse(flat, mode="eval")
    except SyntaxError as error:
        # Python names no place where a formula ends too early
        start = max(0, min((error.offset or len(text)) - 1, len(text) - 1))
        length = max(1, (error.end_offset or 0) - (error.offset or 0))
        for sign in "=|;":
            if sign in text and not {"<=", ">="} & set(text.split()):
                found = text.index(sign)
                raise FormulaError(text, _ADVICE[sign], found) from None
        message = (error.msg or "invalid syntax").capitalize().rstrip(".")
        if "decimal literal" in message:
            message = "A product is written with *, as in 2*x"
        if "Perhaps you forgot a comma" in message or message == "Invalid syntax":
            message = "An operator is missing or misplaced here; products are written with *"
        raise FormulaError(text, f"{message}.", start, length) from None
    except (RecursionError, MemoryError, ValueError, OverflowError):
        raise FormulaError(text, "The formula is nested too deeply or holds too long a number.") from None


def _arithmetic(node: Expr) -> float:
    """The value of arithmetic on numbers; infinite where that overflows, 0 for functions of numbers."""
    if isinstance(node, Const):
        return node.value
    values = [_arithmetic(arg) for arg in node.args]
    compute = {
        "add": float.__add__,
        "sub": float.__sub__,
        "mul": float.__mul__,
        "div": float.__truediv__,
        "pow": math.pow,
        "neg": float.__neg__,
    }
    try:
        return compute[node.name](*map(float, values)) if is_call(node, *compute) else 0.0  # type: ignore
    except (ArithmeticError, ValueError):
        return math.inf


class _Reader:
    """Turns Python's syntax tree into ours, or says where it cannot."""

    def __init__(self, text: str):
        self.text = text

    def fail(self, node: ast.AST, message: str) -> FormulaError:
        start = getattr(node, "col_offset", 0)
        end = getattr(node, "end_col_offset", None) or start + 1
        return FormulaError(self.text, message, start, end - start)

    def read(self, node: ast.AST, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise self.fail(node, f"The formula is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            operand = self.read(node.operand, depth + 1)
            return call("neg", operand) if isinstance(node.op, ast.USub) else operand
        if isinstance(node, ast.BinOp):
            return self._binary(node, depth)
        if isinstance(node, ast.Compare):
            return self._comparison(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        if isinstance(node, ast.IfExp):
            raise self.fail(node, "Write a choice as where(condition, value, otherwise).")
        if isinstance(node, ast.BoolOp):
            raise self.fail(node, "There is no 'and' or 'or'; nest where(...) instead.")
        if isinstance(node, ast.Attribute):
            raise self.fail(node, "A dot has no meaning here; write function names alone, as in tanh(x).")
        what = type(node).__name__.lower()
        raise self.fail(node, f"This is not part of a formula ({what}). Use numbers, names, + - * / ** and functions.")

    def _number(self, node: ast.Constant) -> Expr:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.fail(node, f"A real number was expected, not {type(node.value).__name__}.")
        try:
            value = float(node.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.fail(node, "This number is too large for floating point.")
        return Const(value)

    def _name(self, node: ast.Name) -> Expr:
        if node.id in FUNCTIONS and FUNCTIONS[node.id].arity == 0:
            return call(node.id)
        if node.id in FUNCTIONS:
            raise self.fail(node, f"{node.id} is a function; give it its argument, as in {node.id}(x).")
        if node.id.startswith("__"):
            raise self.fail(node, "Names that begin with two underscores are not read.")
        if node.id == "X":
            raise self.fail(node, "The pre-activation is the small letter x.")
        return Symbol(node.id)

    def _binary(self, node: ast.BinOp, depth: int) -> Expr:
        if type(node.op) not in _BINARY:
            sign = {ast.BitXor: "^", ast.BitOr: "|"}.get(type(node.op), "")
            advice = _ADVICE.get(sign, "Only + - * / and ** join two terms.")
            raise self.fail(node, advice)
        left, right = self.read(node.left, depth + 1), self.read(node.right, depth + 1)
        if isinstance(node.op, ast.Pow) and not right.symbols and not abs(_arithmetic(right)) <= MAX_EXPONENT:
            raise self.fail(node.right, f"Exponents are bounded by {MAX_EXPONENT} in size.")
        return call(_BINARY[type(node.op)], left, right)

    def _comparison(self, node: ast.Compare, depth: int) -> Expr:
        if len(node.ops) > 1:
            raise self.fail(node, "Comparisons are not chained; nest where(...) or use clip(x, low, high).")
        if type(node.ops[0]) not in _COMPARE:
            raise self.fail(node, "Only <, <=, > and >= compare.")
        return call(
            _COMPARE[type(node.ops[0])],
            self.read(node.left, depth + 1),
            self.read(node.comparators[0], depth + 1),
        )

    def _call(self, node: ast.Call, depth: int) -> Expr:
        if not isinstance(node.func, ast.Name):
            raise self.fail(node.func, "Only a function's name can stand before '('; products are written with *.")
        name = SYNONYMS.get(node.func.id, node.func.id)
        if name not in FUNCTIONS:
            close = suggest(name, FUNCTIONS)
            remedy = f"Did you mean {close}?" if close else f"Known: {', '.join(sorted(FUNCTIONS))}."
            raise self.fail(node.func, f"Unknown function {node.func.id!r}. {remedy}")
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            raise self.fail(node, f"{name} takes plain arguments, without names or stars.")
        args = [self.read(arg, depth + 1) for arg in node.args]
        arity = FUNCTIONS[name].arity
        if name in _VARIADIC and len(args) > 2:
            tree = call(name, args[0], args[1])
            for arg in args[2:]:
                tree = call(name, tree, arg)
            return tree
        if len(args) != arity:
            plural = "argument" if arity == 1 else "arguments"
            raise self.fail(node, f"{name} takes {arity} {plural}, not {len(args)}.")
        if name == "pow":
            raise self.fail(node, "Powers are written with **.")
        if name == "spherical_j":
            self._check_order(node, args[0])
        return call(name, *args)

    def _check_order(self, node: ast.Call, order: Expr) -> None:
        if self.text == FUNCTIONS["spherical_j"].partials[1]:
            return  # the table's own text, in which the order is the argument a
        whole = isinstance(order, Const) and order.value == int(order.value)
        if not whole or not 0 <= order.value <= 16:  # type: ignore[attr-defined]
            raise self.fail(node.args[0], "The order of spherical_j is a whole number from 0 to 16.")
