"""An expression as a short program for the compiled core.

The tree is lowered as for torch (`lowering.lower`: simplified, products guarded), numbers are folded, and
equal parts are computed once, across all outputs: a value and its derivatives are one program, and a
derivative is what `expr.derivative` says it is. `exp(-|a|)` is an instruction of its own, so that
sigmoid(a), sigmoid(-a), softplus(a), tanh(a) and sech(a) share one exponential; so do Phi and phi.
An operator without instructions is written by its formula in the operator table; without one, torch evaluates it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from nonlin.errors import NonlinError
from nonlin.expr import Call, Const, Expr, Symbol, derivative
from nonlin.expr.expansion import expansion
from nonlin.expr.lowering import fold_numbers, lower
from nonlin.expr.shortcuts import shortened
from nonlin.expr.tree import is_call
from nonlin.native.library import Library, load, reason
from nonlin.native.registers import PAIRS, Instruction, coded, merge_pairs, registers
from nonlin.native.structures import CProgram

# Operators that are one instruction on their arguments.
DIRECT = {
    name: name
    for name in (
        "add sub mul mul0 div neg lt le gt ge where max min heaviside relu abs sign floor exp expm1 log log1p "
        "sqrt sin cos tan asin acos atan sinh cosh asinh acosh atanh erf erfc"
    ).split()
}
# Operators that `_Assembler` writes in another way; it has a method for each.
COMPOSED = tuple("pi pow clip sigmoid softplus logsigmoid tanh sech sinc spherical_j Phi phi".split())
_COMMUTATIVE = ("add", "mul", "mul0", "max", "min")
_HIDES_NAN = ("lt", "le", "gt", "ge", "heaviside", "sign")
_MAX_WHOLE_POWER = 64
_MAX_REGISTERS = 512


class UnsupportedError(NonlinError):
    """An expression that the machine has no instructions for; torch evaluates it instead."""


def emitted_opcodes(pairs: bool = True) -> set[str]:
    """Every instruction that a program may contain; `pairs` as for `assemble`."""
    composed = (
        "copy pass_nan square power power_whole decay sigmoid sigmoid_neg softplus sech tanh spherical_j sinc "
        "gaussian Phi phi"
    )
    return {*DIRECT.values(), *composed.split(), *(PAIRS.values() if pairs else ())}


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions as data.

    Attributes
    ----------
    code : (instructions, 7) int32: opcode, destination, second destination, a, b, c, immediate
    constants : float64 numbers, in registers 1 + parameters ...
    parameters, outputs, registers : how many
    opcodes : the instructions' names
    """

    code: np.ndarray
    constants: np.ndarray
    parameters: int
    outputs: int
    registers: int
    opcodes: tuple[str, ...] = field(repr=False, default=())

    @property
    def listing(self) -> tuple[str, ...]:
        """The program to read: name, registers and immediate of each instruction."""
        return tuple(
            f"{name} {row[3:6].tolist()} #{row[6]} -> {row[1:3].tolist()}"
            for name, row in zip(self.opcodes, self.code, strict=True)
        )

    @cached_property
    def c(self) -> CProgram:
        """The C structure; it points into this object."""
        return CProgram(
            self.code.ctypes.data, self.constants.ctypes.data, len(self.code),
            self.parameters, len(self.constants), self.outputs, self.registers,
        )  # fmt: skip

    @cached_property
    def address(self) -> int:
        return ctypes.addressof(self.c)

    @cached_property
    def pointer(self):
        return ctypes.pointer(self.c)


@dataclass(frozen=True)
class Function:
    """An activation for the machine: an expression with the order of its parameters.

    `value` computes f; `derivatives` f, df/dx and df/dp for each parameter; `partials` the same
    without f. Each is compiled when first used.
    """

    expr: Expr
    parameters: tuple[str, ...]

    def __post_init__(self) -> None:
        if missing := [name for name in self.expr.parameters if name not in self.parameters]:
            raise NonlinError(f"{self.expr} has the parameter {missing[0]!r}, which is not among {self.parameters}.")

    def __reduce__(self):
        return function, (self.expr, self.parameters)

    @cached_property
    def partial_expressions(self) -> tuple[Expr, ...]:
        return tuple(derivative(self.expr, name) for name in ("x", *self.parameters))

    @cached_property
    def value(self) -> Program:
        return compile_program((self.expr,), self.parameters)

    @cached_property
    def derivatives(self) -> Program:
        library = _core()
        assembler = _Assembler(self.parameters)
        assembler.add(self.expr)
        alone = assembler.copy()
        for node in self.partial_expressions:
            assembler.add(node, simplified=True)
        found = assembler.paired(library.opcodes)
        self.__dict__.setdefault("value", alone.paired(library.opcodes))  # its instructions were the first of these
        return found

    @cached_property
    def partials(self) -> Program:
        return compile_program(self.partial_expressions, self.parameters)

    @property
    def supported(self) -> bool:
        """Whether the machine is there and has instructions for all of it."""
        if load() is None:
            return False
        try:
            return self.derivatives is not None
        except UnsupportedError:
            return False


@lru_cache(maxsize=8192)
def _function(expr: Expr, parameters: tuple[str, ...]) -> Function:
    return Function(expr, parameters)


def function(expr: Expr, parameters: tuple[str, ...] | None = None) -> Function:
    """The `Function` of an expression; its parameters in order of appearance unless given."""
    return _function(expr, expr.parameters if parameters is None else tuple(parameters))


@lru_cache(maxsize=16384)
def compile_program(outputs: tuple[Expr, ...], parameters: tuple[str, ...]) -> Program:
    """The program that computes `outputs` from x and `parameters`.

    Raises
    ------
    UnsupportedError
        if an operator has no instruction
    NonlinError
        if the compiled core is not there
    """
    return assemble(outputs, parameters, _core().opcodes)


def _core() -> Library:
    library = load()
    if library is None:
        raise NonlinError(f"the compiled core is not there ({reason()}).")
    return library


def assemble(
    outputs: tuple[Expr, ...], parameters: tuple[str, ...], opcodes: Mapping[str, int], pairs: bool = True
) -> Program:
    """The same for a machine that has these instructions; without `pairs`, each has one result."""
    assembler = _Assembler(parameters)
    for node in outputs:
        assembler.add(node)
    return assembler.paired(opcodes) if pairs else assembler.program(opcodes)


class _Assembler:
    """Values are numbered: x, then the parameters; each instruction and each constant makes a new one."""

    def __init__(self, parameters: tuple[str, ...]):
        self.inputs = {"x": 0, **{name: 1 + k for k, name in enumerate(parameters)}}
        self.parameters = len(parameters)
        self.count = len(self.inputs)
        self.constants: dict[float, int] = {}
        self.known: dict[tuple, int] = {}
        self.nodes: dict[Expr, int] = {}
        self.instructions: list[Instruction] = []
        self.outputs: list[int] = []
        self.nan_at_nan = {0: True}  # whether a value is NaN where x is

    # Building

    def add(self, node: Expr, simplified: bool = False) -> None:
        """One more output: an expression as it stands in a formula, or a derivative, which is simplified."""
        self.output(fold_numbers(shortened(lower(node, tuple(self.inputs)[1:], simplified))))

    def output(self, node: Expr) -> None:
        value = self.visit(node)
        if not self.nan_at_nan.get(value, False):  # a step of NaN is NaN, as everywhere in nonlin
            value = self.emit("pass_nan", 0, value)
        fixed = value < len(self.inputs) or value in self.constants.values()
        if fixed or value in self.outputs:
            value = self.emit("copy", value, unique=True)
        self.outputs.append(value)

    def visit(self, node: Expr) -> int:
        if node not in self.nodes:
            self.nodes[node] = self.translate(node)
        return self.nodes[node]

    def translate(self, node: Expr) -> int:
        if isinstance(node, Const):
            return self.constant(node.value)
        if isinstance(node, Symbol):
            if node.name not in self.inputs:
                raise UnsupportedError(f"the machine has no value for the symbol {node.name!r}.")
            return self.inputs[node.name]
        assert isinstance(node, Call)
        if node.name in DIRECT:
            return self.emit(DIRECT[node.name], *(self.visit(arg) for arg in node.args))
        if node.name in COMPOSED:
            return getattr(self, f"compose_{node.name}")(node)
        if (simpler := expansion(node)) is not None:
            return self.visit(fold_numbers(simpler))
        raise UnsupportedError(f"the machine has no instruction for {node.name!r}.")

    def constant(self, value: float) -> int:
        if value not in self.constants:
            self.constants[value] = self.new_value()
        return self.constants[value]

    def new_value(self) -> int:
        self.count += 1
        return self.count - 1

    def emit(self, opcode: str, *operands: int, immediate: int = 0, unique: bool = False) -> int:
        if opcode in _COMMUTATIVE:
            operands = tuple(sorted(operands))
        key = (opcode, operands, immediate)
        if unique or key not in self.known:
            self.known[key] = value = self.new_value()
            self.instructions.append(Instruction(opcode, operands, immediate, (value,)))
            self.nan_at_nan[value] = self.keeps_nan(opcode, operands)
        return self.known[key]

    def keeps_nan(self, opcode: str, operands: tuple[int, ...]) -> bool:
        """Whether the result is NaN where x is; False if that is not certain."""
        nan = [self.nan_at_nan.get(value, False) for value in operands]
        if opcode == "where":
            return nan[1] and nan[2]
        if opcode in ("copy", "pass_nan"):
            return nan[0]
        return opcode not in _HIDES_NAN and any(nan)

    # Operators in several instructions

    def compose_pi(self, node: Call) -> int:
        raise AssertionError("fold_numbers leaves no pi")

    def compose_pow(self, node: Call) -> int:
        base, exponent = node.args
        if isinstance(exponent, Const):
            if exponent.value == 2:
                return self.emit("square", self.visit(base))
            if exponent.value == int(exponent.value) and abs(exponent.value) <= _MAX_WHOLE_POWER:
                return self.emit("power_whole", self.visit(base), immediate=int(exponent.value))
        return self.emit("power", self.visit(base), self.visit(exponent))

    def compose_clip(self, node: Call) -> int:
        a, low, high = (self.visit(arg) for arg in node.args)
        return self.emit("min", self.emit("max", a, low), high)

    def compose_sigmoid(self, node: Call) -> int:
        negative, argument = self.signed(node.args[0])
        return self.emit("sigmoid_neg" if negative else "sigmoid", argument, self.emit("decay", argument))

    def compose_softplus(self, node: Call) -> int:
        negative, argument = self.signed(node.args[0])
        decay = self.emit("decay", argument)
        return self.emit("softplus", self.emit("neg", argument) if negative else argument, decay)

    def compose_logsigmoid(self, node: Call) -> int:
        negative, argument = self.signed(node.args[0])
        decay = self.emit("decay", argument)
        return self.emit("neg", self.emit("softplus", argument if negative else self.emit("neg", argument), decay))

    def compose_tanh(self, node: Call) -> int:
        negative, argument = self.signed(node.args[0])
        value = self.emit("tanh", argument, self.emit("decay", argument))
        return self.emit("neg", value) if negative else value

    def compose_sech(self, node: Call) -> int:
        return self.emit("sech", self.emit("decay", self.signed(node.args[0])[1]))

    def compose_Phi(self, node: Call) -> int:
        negative, argument = self.signed(node.args[0])
        own = self.emit("neg", argument) if negative else argument  # worth it for the two arguments' common density
        return self.emit("Phi", own, self.emit("gaussian", argument))

    def compose_phi(self, node: Call) -> int:
        return self.emit("phi", self.emit("gaussian", self.signed(node.args[0])[1]))

    def compose_sinc(self, node: Call) -> int:
        return self.emit("sinc", self.visit(node.args[0]))

    def compose_spherical_j(self, node: Call) -> int:
        order, argument = node.args
        if not isinstance(order, Const):
            raise UnsupportedError("the machine knows spherical_j for orders that are numbers only.")
        if int(order.value) == 0:
            return self.emit("sinc", self.visit(argument))
        return self.emit("spherical_j", self.visit(argument), immediate=int(order.value))

    def signed(self, node: Expr) -> tuple[bool, int]:
        """(negative, value) such that `node` is that value or its negative, the same value for both."""
        negative, core = _unsigned(node)
        return negative, self.visit(core)

    # Finishing

    def copy(self) -> _Assembler:
        """One to finish now, while this one goes on."""
        other = _Assembler(tuple(self.inputs)[1:])
        other.constants, other.outputs = dict(self.constants), list(self.outputs)
        other.instructions = [replace(one) for one in self.instructions]
        return other

    def paired(self, opcodes: Mapping[str, int]) -> Program:
        self.instructions = merge_pairs(self.instructions)
        return self.program(opcodes)

    def program(self, opcodes: Mapping[str, int]) -> Program:
        places = registers(list(self.inputs.values()), list(self.constants.values()), self.outputs, self.instructions)
        total = max(places.values()) + 1
        if total > _MAX_REGISTERS:
            raise UnsupportedError(f"the expression needs {total} registers, more than {_MAX_REGISTERS}.")
        code = coded(self.instructions, places, opcodes)
        constants = np.array(list(self.constants), dtype=np.float64)
        names = tuple([one.opcode for one in self.instructions])
        return Program(code, constants, self.parameters, len(self.outputs), total, names)


def _unsigned(node: Expr) -> tuple[bool, Expr]:
    """(negative, core): `node` is core or -core, exactly, and node and -node have the same core."""
    if isinstance(node, Const):
        return node.value < 0, Const(abs(node.value))
    if is_call(node, "neg"):
        negative, core = _unsigned(node.args[0])
        return not negative, core
    if is_call(node, "mul", "mul0", "div"):
        assert isinstance(node, Call)
        (left_negative, left), (right_negative, right) = map(_unsigned, node.args)
        return left_negative != right_negative, Call(node.operator, (left, right))
    if is_call(node, "sub"):
        assert isinstance(node, Call)
        left, right = node.args
        if str(left) > str(right):  # any fixed order will do
            return True, Call(node.operator, (right, left))
    return False, node
