"""Functional uses: a call such as ``F.relu(x)`` in a module's own code becomes a call of a new submodule.

The code of the module's class stays as it is. The one module gets a class of its own, derived from it, in
which the methods with such calls are written anew from their source: ``F.relu(x)`` as ``self.relu_1(x)``,
everything else, control flow included, untouched. (A graph traced by `torch.fx` could not stand in for the
method: it has one branch of each ``if`` only, that of ``self.training`` among them.)
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import nn

from nonlin.nn.swap_table import FUNCTIONS, METHODS


@dataclass(frozen=True)
class Use:
    """One call in the source of a class: the `ordinal`-th of its kind in `method`."""

    method: str
    ordinal: int
    label: str  # "relu"
    line: int
    function: Any  # the function called, or None for a tensor's method
    extra: tuple[tuple, tuple[tuple[str, Any], ...]] | None  # further arguments if they are literals, else None
    reason: str = ""  # why it cannot be replaced


class FunctionModule(nn.Module):
    """A function of torch, with further arguments, as a module."""

    def __init__(self, function: Callable, args: tuple = (), keywords: dict[str, Any] | None = None):
        super().__init__()
        self.function, self.args, self.keywords = function, args, dict(keywords or {})

    def forward(self, x):
        return self.function(x, *self.args, **self.keywords)


@lru_cache(maxsize=1024)
def uses_of(kind: type) -> tuple[Use, ...]:
    """Every call of an activation function in the methods of a class, inherited ones included."""
    found: list[Use] = []
    for name, function in _methods(kind):
        try:
            tree = _parsed(function)
        except (OSError, TypeError, SyntaxError):
            continue  # no source: what runs shows in the audit
        reason = ""
        if tree.decorator_list or hasattr(function, "__wrapped__"):
            reason = "its method is wrapped by a decorator"
        elif _has_private_names(tree):
            reason = "its method uses names with two leading underscores"
        found += _Reader(name, function, reason).read(tree)
    return tuple(found)


@lru_cache(maxsize=1024)
def rewritten(kind: type, uses: tuple[tuple[str, int, str], ...]) -> type:
    """A class derived from `kind` with some calls replaced.

    Parameters
    ----------
    uses : (method, ordinal, name of the submodule) for each call
    """
    namespace: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    methods = dict(_methods(kind))
    for name in dict.fromkeys(method for method, _, _ in uses):
        chosen = {ordinal: key for method, ordinal, key in uses if method == name}
        namespace[name] = _write(methods[name], chosen)
    namespace.update(__doc__=kind.__doc__, nonlin_base=kind, nonlin_uses=uses, __reduce_ex__=_reduce)
    return type(kind)(kind.__name__, (kind,), namespace)


def base_and_uses(module: nn.Module) -> tuple[type, tuple[tuple[str, int, str], ...]]:
    """The class a module had before its calls were replaced, and which ones were."""
    kind = type(module)
    return getattr(kind, "nonlin_base", kind), getattr(kind, "nonlin_uses", ())


def _reduce(self, protocol):
    base, uses = base_and_uses(self)
    _, _, *rest = super(type(self), self).__reduce_ex__(protocol)
    return _revive, (base, uses), *rest


def _revive(base: type, uses: tuple[tuple[str, int, str], ...]) -> nn.Module:
    kind: Any = rewritten(base, uses)
    return kind.__new__(kind)


def _methods(kind: type) -> Iterator[tuple[str, types.FunctionType]]:
    """The plain methods that an instance has, but for those of torch's own base classes."""
    for name in dict.fromkeys(name for owner in kind.__mro__ if _is_users(owner) for name in vars(owner)):
        function = inspect.getattr_static(kind, name)
        if isinstance(function, types.FunctionType):
            yield name, function


def _is_users(kind: type) -> bool:
    return kind.__module__.split(".")[0] not in ("torch", "builtins", "nonlin", "abc", "typing")


def _parsed(function: types.FunctionType) -> ast.FunctionDef:
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    ast.increment_lineno(tree, max(first, 1) - 1)  # a traceback then shows the user's own line
    node = tree.body[0]
    if not isinstance(node, ast.FunctionDef):
        raise TypeError("not a method")  # a lambda
    return node


def _has_private_names(tree: ast.AST) -> bool:
    names = (getattr(node, "attr", None) or getattr(node, "id", "") for node in ast.walk(tree))
    return any(name.startswith("__") and not name.endswith("__") for name in names if isinstance(name, str))


class _Reader:
    """Finds calls of activation functions in one method."""

    def __init__(self, method: str, function: types.FunctionType, reason: str = ""):
        self.method, self.function, self.reason = method, function, reason
        code = function.__code__
        self.locals = set(code.co_varnames) | set(code.co_cellvars)
        self.self_name = code.co_varnames[0] if code.co_argcount else ""
        self.closure = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))

    def read(self, tree: ast.FunctionDef) -> list[Use]:
        discarded = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        return [
            self._use(ordinal, call, id(call) in discarded) for ordinal, call in enumerate(self.calls(tree))
        ]  # fmt: skip

    def calls(self, tree: ast.FunctionDef) -> list[ast.Call]:
        """The calls, in the order of the source."""
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and self.target(node)]
        return sorted(found, key=lambda node: (node.end_lineno, node.end_col_offset))

    def target(self, call: ast.Call) -> Any:
        """The function of the table that is called, the name of a tensor's method, or None."""
        value = self._resolve(call.func)
        try:
            if value in FUNCTIONS:
                return value
        except TypeError:  # not hashable
            return None
        if isinstance(call.func, ast.Attribute) and call.func.attr in METHODS and not (call.args or call.keywords):
            holder = call.func.value
            if value is None and not (isinstance(holder, ast.Name) and holder.id == self.self_name):
                return call.func.attr
        return None

    def input(self, call: ast.Call) -> ast.expr | None:
        """The argument that is the activation's input."""
        if isinstance(self.target(call), str):
            assert isinstance(call.func, ast.Attribute)
            return call.func.value
        named = [keyword.value for keyword in call.keywords if keyword.arg == "input"]
        first = call.args[0] if call.args else named[0] if named else None
        return None if isinstance(first, ast.Starred) else first

    def _use(self, ordinal: int, call: ast.Call, discarded: bool) -> Use:
        target = self.target(call)
        name = target if isinstance(target, str) else getattr(target, "__name__", "activation")
        reason = self.reason
        if not self.self_name:
            reason = "its method has no self"
        elif discarded:
            reason = "it works in place: its result is not used"
        elif self.input(call) is None:
            reason = "its input is not written as an argument"
        function = None if isinstance(target, str) else target
        extra = ((), ()) if isinstance(target, str) else _literals(call)
        return Use(self.method, ordinal, name.rstrip("_"), call.lineno, function, extra, reason)

    def _resolve(self, node: ast.expr) -> Any:
        """The object that a dotted name of the source means, if it is a global one."""
        if isinstance(node, ast.Attribute):
            holder = self._resolve(node.value)
            return None if holder is None else getattr(holder, node.attr, None)
        if not isinstance(node, ast.Name) or node.id in self.locals:
            return None
        if node.id in self.closure:
            return self.closure[node.id].cell_contents
        return self.function.__globals__.get(node.id)


def _literals(call: ast.Call) -> tuple[tuple, tuple[tuple[str, Any], ...]] | None:
    """The arguments after the input where they are numbers in the source; `inplace` is left out."""
    try:
        args = tuple(ast.literal_eval(node) for node in call.args[1:])
        named = [(word.arg or "", word.value) for word in call.keywords if word.arg not in ("input", "inplace")]
        return args, tuple((name, ast.literal_eval(value)) for name, value in named)
    except ValueError:
        return None


class _Writer(ast.NodeTransformer):
    def __init__(self, reader: _Reader, chosen: dict[int, str]):
        self.reader, self.chosen = reader, chosen

    def visit_Call(self, node: ast.Call) -> ast.AST:
        key, argument = self.chosen.get(id(node)), self.reader.input(node) if id(node) in self.chosen else None
        self.generic_visit(node)
        if key is None or argument is None:
            return node
        # the argument may itself have been replaced by the visit: read it again
        argument = self.reader.input(node)
        assert argument is not None
        holder = ast.Attribute(ast.Name(self.reader.self_name, ast.Load()), key, ast.Load())
        return ast.copy_location(ast.Call(holder, [argument], []), node)


def _write(function: types.FunctionType, chosen: dict[int, str]) -> types.FunctionType:
    """The method with its chosen calls (ordinal -> submodule) replaced, in the same globals and closure."""
    tree = copy.deepcopy(_parsed(function))
    reader = _Reader(function.__name__, function)
    calls = reader.calls(tree)
    tree = _Writer(reader, {id(calls[ordinal]): key for ordinal, key in chosen.items()}).visit(tree)
    outer = ast.parse(f"def outer({', '.join(function.__code__.co_freevars)}): pass").body[0]
    assert isinstance(outer, ast.FunctionDef)
    outer.body = [tree]  # compiled, never run: it makes the same names free that were free before
    module = ast.fix_missing_locations(ast.Module([outer], []))
    flags = function.__code__.co_flags & _future_flags()
    compiled = compile(module, function.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    code = _code_inside(_code_inside(compiled, "outer"), tree.name)
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    made = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, tuple(cells[n] for n in code.co_freevars)
    )
    made.__kwdefaults__, made.__doc__, made.__qualname__ = (
        function.__kwdefaults__, function.__doc__, function.__qualname__,
    )  # fmt: skip
    return made


def _future_flags() -> int:
    import __future__

    return __future__.annotations.compiler_flag


def _code_inside(code: types.CodeType, name: str) -> types.CodeType:
    return next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
