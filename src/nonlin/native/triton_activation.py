"""Activations of K children by one Triton kernel: what surrounds `triton_kernel` on the host.

For tensors on a CUDA device, float32, float16 and bfloat16 (computed in float32). Triton is loaded with the first
such tensor. Cohorts use it where it is there; modules where NONLIN_TRITON=1 asks for it, since nobody has timed it on
a GPU yet. NONLIN_TRITON=0 switches it off. Otherwise torch's own operators do the work.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonlin.expr import Expr
from nonlin.native.program import Function, Program, UnsupportedError, assemble

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
REGISTERS = (8, 16, 32)  # of a compiled kernel; each takes seconds to compile, once
OLDEST = (3, 3)  # of Triton
_ROW = 6
_MAX_CHANNELED = 2**31 - 2**16  # elements of a child, where parameters are per channel: places are int32 then


@lru_cache(maxsize=1)
def _setting() -> str:
    return os.environ.get("NONLIN_TRITON", "").lower()


@lru_cache(maxsize=1)
def reason() -> str:
    """Why the kernel is not there; empty if it is."""
    if _setting() in ("0", "off", "no", "false"):
        return "switched off by the environment variable NONLIN_TRITON"
    try:
        found = version("triton")
        if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < OLDEST:
            return f"Triton {found} is older than {OLDEST[0]}.{OLDEST[1]}, the oldest that the kernel is for"
        from nonlin.native import triton_kernel  # noqa: F401
    except ImportError:
        return "Triton is not installed; install it with: pip install 'nonlin[triton]'"
    return ""


def usable(x: Tensor) -> bool:
    """Whether the kernel may take x: see `Stacked` for what else it wants."""
    return x.is_cuda and x.dtype in DTYPES and not reason()


def for_modules(x: Tensor) -> bool:
    """The same for modules, which use it on request alone."""
    return _setting() in ("1", "on", "yes", "true") and usable(x)


@dataclass(frozen=True)
class _Encoded:
    """One program for the kernel: rows of six int32 and float32 numbers."""

    code: np.ndarray
    constants: np.ndarray
    registers: int


@lru_cache(maxsize=8192)
def _encode(outputs: tuple[Expr, ...], parameters: tuple[str, ...]) -> _Encoded:
    from nonlin.native.triton_kernel import OPCODES

    program = assemble(outputs, parameters, {name: number for number, name in enumerate(OPCODES)}, pairs=False)
    numbers = program.parameters + len(program.constants)
    registers = program.registers - numbers
    if registers > REGISTERS[-1]:
        raise UnsupportedError(f"the expression needs {registers} registers, more than {REGISTERS[-1]}.")
    with np.errstate(over="ignore"):
        constants = program.constants.astype(np.float32)
    return _Encoded(_rows(program, numbers), constants, registers)


def _rows(program: Program, numbers: int) -> np.ndarray:
    """The kernel's registers are x and those after parameters and constants; the latter have negative numbers."""
    places = np.arange(program.registers, dtype=np.int32)
    places = np.where(places == 0, 0, np.where(places <= numbers, -places, places - numbers)).astype(np.int32)
    rows = np.zeros((len(program.code), _ROW), dtype=np.int32)
    rows[:, 0], rows[:, 1:5], rows[:, 5] = program.code[:, 0], places[program.code[:, [1, 3, 4, 5]]], program.code[:, 6]
    return rows


@lru_cache(maxsize=8192)
def supported(function: Function) -> bool:
    """Whether the kernel can compute this function and its derivatives."""
    try:
        _encode((function.expr,), function.parameters)
        _encode(function.partial_expressions, function.parameters)
    except UnsupportedError:
        return False
    return True


class _Programs:
    """K programs in a row, on a device."""

    def __init__(self, encoded: Sequence[_Encoded], functions: Sequence[Function], device: torch.device):
        code = np.concatenate([one.code for one in encoded])
        constants = np.concatenate([*(one.constants for one in encoded), np.zeros(1, dtype=np.float32)])
        children = np.zeros((len(encoded), 4), dtype=np.int32)
        children[1:, 0] = np.cumsum([len(one.code) for one in encoded])[:-1]
        children[1:, 2] = np.cumsum([len(one.constants) for one in encoded])[:-1]
        children[:, 1] = [len(one.code) for one in encoded]
        children[:, 3] = [len(one.parameters) for one in functions]
        self.code, self.constants, self.children = (
            torch.from_numpy(one).to(device) for one in (code, constants, children)
        )
        most = max(one.registers for one in encoded)
        self.registers = next(size for size in REGISTERS if size >= most)


class Stacked:
    """K functions over the K rows of tensors on one device; each must be `supported`."""

    def __init__(self, functions: Sequence[Function], device: torch.device):
        self.functions = list(functions)
        self.most = max((len(one.parameters) for one in functions), default=0)
        self._value = _Programs([_encode((one.expr,), one.parameters) for one in functions], functions, device)
        self._partials = _Programs(
            [_encode(one.partial_expressions, one.parameters) for one in functions], functions, device
        )

    def forward(self, x: Tensor, values: Tensor, inner: int) -> Tensor:
        """f(x), of x's dtype.

        x : (K, ...), contiguous, (channels, inner) being its last dimensions; values : (K, P, channels or 1)
        """
        out = torch.empty_like(x)
        self._launch(self._value, x, values, inner, out, None, None)
        return out

    def backward(self, gradient: Tensor, x: Tensor, values: Tensor, inner: int) -> tuple[Tensor, Tensor]:
        """The gradients by x and by the values; `gradient` like x.

        The sums over a child's elements are made in two steps of fixed order, so that they are the same every time.
        """
        out = torch.empty_like(x)
        width = values.shape[-1]
        tiles = _tiles(self._partials.registers, _count(x), width, inner)
        sums = torch.zeros(len(self.functions), self.most, tiles.columns, width, dtype=torch.float32, device=x.device)
        self._launch(self._partials, x, values, inner, out, gradient, sums)
        by_values = torch.zeros_like(values)
        if self.most:
            by_values[:, : self.most] = sums.sum(dim=2, dtype=torch.float64).to(values.dtype)
        return out, by_values

    def _launch(
        self, programs: _Programs, x: Tensor, values: Tensor, inner: int, out: Tensor, gradient: Tensor | None,
        sums: Tensor | None,
    ) -> None:  # fmt: skip
        assert all(one.is_contiguous() for one in (x, values, out if gradient is None else gradient))
        if not x.numel():
            return
        from nonlin.native.triton_kernel import activate

        count, width = _count(x), values.shape[-1]
        tiles = _tiles(programs.registers, count, width, inner)
        kernel: Any = activate
        with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
            kernel[(tiles.rows * tiles.columns, len(self.functions))](
                x, out, out if gradient is None else gradient, out if sums is None else sums, programs.code,
                programs.children, programs.constants, values if values.numel() else programs.constants, count,
                tiles.length, width, max(inner, 1), values.shape[1], tiles.columns, CHANNELS=tiles.across,
                ELEMENTS=tiles.along, PARAMETERS=0 if gradient is None else self.most, R=programs.registers,
                PER_CHANNEL=width > 1, BACKWARD=gradient is not None, num_warps=4,
            )  # fmt: skip


def takes(x: Tensor, channels: int) -> bool:
    """Whether the kernel's numbers for places are long enough for x (K, ...)."""
    return channels == 1 or _count(x) < _MAX_CHANNELED


def _count(x: Tensor) -> int:
    """Elements of a child."""
    return math.prod(x.shape[1:])


@dataclass(frozen=True)
class _Tiles:
    """Tiles of across x along over (channels, length): rows x columns of them."""

    across: int
    along: int
    length: int
    rows: int
    columns: int


def _tiles(registers: int, count: int, width: int, inner: int) -> _Tiles:
    size = max(128, 4096 // registers)
    length = count // width
    across = 1
    if width > 1 and inner < 32:  # neighbours in memory are channels, as in (batch, features)
        across = min(size // 4, 1 << (width - 1).bit_length())
    return _Tiles(across, size // across, length, -(-width // across), -(-length // (size // across)))
