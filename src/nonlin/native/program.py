"""An expression as a short program for the compiled core.

The tree is lowered as for torch (`lowering.lower`: simplified, products guarded), numbers are folded, and
equal parts are computed once, across all outputs: a value and its derivatives are one program, and a
derivative is what `expr.derivative` says it is. `exp(-|a|)` is an instruction of its own, so that
sigmoid(a), sigmoid(-a), softplus(a), tanh(a) and sech(a) share one exponential; so do Phi and phi.
An operator without instructions is written by its formula in the operator table; without one, torch evaluates it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from nonlin.errors import NonlinError
from nonlin.expr import Call, Const, Expr, Symbol, derivative
from nonlin.expr.expansion import expansion
from nonlin.expr.lowering import fold_numbers, lower
from nonlin.expr.tree import is_call
from nonlin.native.library import load
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
# Two instructions on one argument that one instruction does at once.
# The immediates tell the orders of Bessel functions apart.
PAIRS = {
    (("sin", 0), ("cos", 0)): "sin_cos",
    (("sinh", 0), ("cosh", 0)): "sinh_cosh",
    (("sigmoid", 0), ("sigmoid_neg", 0)): "sigmoids",
    (("sinc", 0), ("spherical_j", 1)): "sincs",
}

_COMMUTATIVE = ("add", "mul", "mul0", "max", "min")
_HIDES_NAN = ("lt", "le", "gt", "ge", "heaviside", "sign")
_MAX_WHOLE_POWER = 64
_MAX_REGISTERS = 512


class UnsupportedError(NonlinError):
    """An expression that the machine has no instructions for; torch evaluates it instead."""


def emitted_opcodes() -> set[str]:
    """Every instruction that a program may contain."""
    composed = (
        "copy pass_nan square power power_whole decay sigmoid sigmoid_neg softplus sech tanh spherical_j sinc "
        "gaussian Phi phi"
    )
    return {*DIRECT.values(), *composed.split(), *PAIRS.values()}


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions as data.

    Attributes
    ----------
    code : (instructions, 7) int32: opcode, destination, second destination, a, b, c, immediate
    constants : float64 numbers, in registers 1 + parameters ...
    parameters, outputs, registers : how many
    """

    code: np.ndarray
    constants: np.ndarray
    parameters: int
    outputs: int
    registers: int
    listing: tuple[str, ...] = field(repr=False, default=())

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
        return compile_program((self.expr, *self.partial_expressions), self.parameters)

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
    library = load()
    if library is None:
        from nonlin.native.library import reason

        raise NonlinError(f"the compiled core is not there ({reason()}).")
    assembler = _Assembler(parameters)
    for node in outputs:
        assembler.output(fold_numbers(lower(node, parameters)))
    return assembler.program(library.opcodes)


@dataclass
class _Instruction:
    opcode: str
    operands: tuple[int, ...]  # value numbers
    immediate: int
    results: tuple[int, ...]  # value numbers

    @property
    def kind(self) -> tuple[str, int]:
        return self.opcode, self.immediate


class _Assembler:
    """Values are numbered: x, then the parameters; each instruction and each constant makes a new one."""

    def __init__(self, parameters: tuple[str, ...]):
        self.inputs = {"x": 0, **{name: 1 + k for k, name in enumerate(parameters)}}
        self.parameters = len(parameters)
        self.count = len(self.inputs)
        self.constants: dict[float, int] = {}
        self.known: dict[tuple, int] = {}
        self.nodes: dict[Expr, int] = {}
        self.instructions: list[_Instruction] = []
        self.outputs: list[int] = []
        self.nan_at_nan = {0: True}  # whether a value is NaN where x is

    # Building

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
            self.instructions.append(_Instruction(opcode, operands, immediate, (value,)))
            self.nan_at_nan[value] = self.keeps_nan(opcode, operands)
        return self.known[key]

    def keeps_nan(self, opcode: str, operands: tuple[int, ...]) -> bool:
        """Whether the result is NaN where x is; False if that is not certain."""
        nan = [self.nan_at_nan.get(value, False) for value in operands]
        if opcode in _HIDES_NAN:
            return False
        if opcode == "where":
            return nan[1] and nan[2]
        if opcode in ("copy", "pass_nan"):
            return nan[0]
        return any(nan)

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
        if negative:  # the two arguments' common density is worth a negation
            return self.emit("Phi", self.emit("neg", argument), self.emit("gaussian", argument))
        return self.emit("Phi", argument, self.emit("gaussian", argument))

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

    def program(self, opcodes: dict[str, int]) -> Program:
        self.merge_pairs()
        registers = self.registers()
        code = np.zeros((len(self.instructions), 7), dtype=np.int32)
        listing = []
        for row, one in zip(code, self.instructions, strict=True):
            operands = [registers[value] for value in one.operands]
            results = [registers[value] for value in one.results]
            row[0] = opcodes[one.opcode]
            row[1 : 1 + len(results)] = results
            row[3 : 3 + len(operands)] = operands
            row[6] = one.immediate
            listing.append(f"{one.opcode} {operands} #{one.immediate} -> {results}")
        total = max(registers.values()) + 1
        if total > _MAX_REGISTERS:
            raise UnsupportedError(f"the expression needs {total} registers, more than {_MAX_REGISTERS}.")
        constants = np.array(list(self.constants), dtype=np.float64)
        return Program(code, constants, self.parameters, len(self.outputs), total, tuple(listing))

    def merge_pairs(self) -> None:
        for (first, second), both in PAIRS.items():
            by_argument = {one.operands: one for one in self.instructions if one.kind == second}
            for one in self.instructions:
                other = by_argument.get(one.operands) if one.kind == first else None
                if other is None:
                    continue
                early, late = sorted((one, other), key=self.position)
                early.opcode, early.immediate, early.results = both, 0, (*one.results, *other.results)
                self.instructions = [item for item in self.instructions if item is not late]

    def position(self, instruction: _Instruction) -> int:
        return next(k for k, item in enumerate(self.instructions) if item is instruction)

    def registers(self) -> dict[int, int]:
        """The register of each value: fixed for inputs, constants and outputs, shared by the rest."""
        place = {value: value for value in self.inputs.values()}
        first = len(self.inputs)
        for offset, value in enumerate(self.constants.values()):
            place[value] = first + offset
        first += len(self.constants)
        for offset, value in enumerate(self.outputs):
            place[value] = first + offset
        total = first + len(self.outputs)
        fixed = set(place)
        last_use = {value: k for k, one in enumerate(self.instructions) for value in one.operands}
        free: list[int] = []
        for k, one in enumerate(self.instructions):
            for value in set(one.operands):
                if value not in fixed and last_use[value] == k:
                    free.append(place[value])  # elementwise: a result may overwrite its operand
            for value in one.results:
                if value not in fixed:
                    if not free:
                        free.append(total)
                        total += 1
                    place[value] = free.pop()
            free.extend(place[value] for value in one.results if value not in fixed and value not in last_use)
        return place


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
