"""From instructions on numbered values to code on registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Two instructions on one argument that one instruction does at once.
# The immediates tell the orders of Bessel functions apart.
PAIRS = {
    (("sin", 0), ("cos", 0)): "sin_cos",
    (("sinh", 0), ("cosh", 0)): "sinh_cosh",
    (("sigmoid", 0), ("sigmoid_neg", 0)): "sigmoids",
    (("sinc", 0), ("spherical_j", 1)): "sincs",
}


@dataclass
class Instruction:
    opcode: str
    operands: tuple[int, ...]  # value numbers
    immediate: int
    results: tuple[int, ...]  # value numbers

    @property
    def kind(self) -> tuple[str, int]:
        return self.opcode, self.immediate


def merge_pairs(instructions: list[Instruction]) -> list[Instruction]:
    """The same with one instruction in place of two wherever `PAIRS` has one; the first of them is changed."""
    kinds = {one.kind for one in instructions}
    for (first, second), both in PAIRS.items():
        if first not in kinds or second not in kinds:
            continue
        by_argument = {one.operands: one for one in instructions if one.kind == second}
        for one in instructions:
            other = by_argument.get(one.operands) if one.kind == first else None
            if other is None:
                continue
            early, late = sorted((one, other), key=lambda item: _position(item, instructions))
            early.opcode, early.immediate, early.results = both, 0, (*one.results, *other.results)
            instructions = [item for item in instructions if item is not late]
    return instructions


def _position(instruction: Instruction, instructions: Sequence[Instruction]) -> int:
    return next(k for k, item in enumerate(instructions) if item is instruction)


def registers(
    inputs: Sequence[int], constants: Sequence[int], outputs: Sequence[int], instructions: Sequence[Instruction]
) -> dict[int, int]:
    """The register of each value: fixed for inputs, constants and outputs, shared by the rest."""
    place = {value: k for k, value in enumerate((*inputs, *constants, *outputs))}
    total = len(place)
    fixed = set(place)
    last_use = {value: k for k, one in enumerate(instructions) for value in one.operands}
    free: list[int] = []
    for k, one in enumerate(instructions):
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


def coded(instructions: Sequence[Instruction], places: Mapping[int, int], opcodes: Mapping[str, int]) -> np.ndarray:
    """(instructions, 7) int32: opcode, destination, second destination, a, b, c, immediate."""
    rows = []
    for one in instructions:
        results, operands = [places[value] for value in one.results], [places[value] for value in one.operands]
        padding = [0] * (2 - len(results)), [0] * (3 - len(operands))
        rows.append([opcodes[one.opcode], *results, *padding[0], *operands, *padding[1], one.immediate])
    return np.array(rows, dtype=np.int32).reshape(len(rows), 7)
