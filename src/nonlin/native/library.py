"""Finding and loading the compiled core; the C structures of core/interface.h as ctypes.

The core is optional. Where it is missing, was built from other sources, or is switched off by
``NONLIN_NATIVE=0``, `load` returns None, `reason` says why, and every caller has a torch path.
``NONLIN_NATIVE=/path/to/library`` uses another build; ``NONLIN_NATIVE_ISA=avx512|avx2|base`` chooses the
instruction set (otherwise the best that the machine has).
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_char_p, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from nonlin.errors import NonlinError

INTERFACE = 5  # core/interface.h: NONLIN_INTERFACE
FLOAT32, FLOAT64 = 0, 1
_MESSAGES = {1: "out of memory", 2: "a program or a size that the core cannot take"}


class CProgram(Structure):
    _fields_ = [
        ("code", c_void_p),
        ("constants", c_void_p),
        ("instructions", c_int32),
        ("parameters", c_int32),
        ("constant_count", c_int32),
        ("outputs", c_int32),
        ("registers", c_int32),
    ]


class CActivationCall(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("children", c_int32),
        ("threads", c_int32),
        ("per_channel", c_int32),
        ("count", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("programs", POINTER(CProgram)),
        ("x", c_void_p),
        ("parameters", POINTER(c_void_p)),
        ("outputs", POINTER(c_void_p)),
        ("output_count", c_int32),
        ("gradient", c_void_p),
        ("gradient_x", c_void_p),
        ("gradient_parameters", POINTER(c_void_p)),
    ]


class CNetwork(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("layers", c_int32),
        ("widths", c_void_p),
        ("bias", c_int32),
        ("per_channel", c_int32),
        ("loss", c_int32),
        ("optimiser", c_int32),
        ("beta1", c_double),
        ("beta2", c_double),
        ("eps", c_double),
        ("weight_decay", c_double),
        ("momentum", c_double),
        ("nesterov", c_int32),
        ("clip", c_double),
        ("schedule", c_void_p),
        ("batch", c_int64),
        ("order_length", c_int64),
        ("first_epoch", c_int64),
        ("last_epoch", c_int64),
        ("train_rows", c_int64),
        ("valid_rows", c_int64),
        ("train_x", c_void_p),
        ("valid_x", c_void_p),
        ("train_y", c_void_p),
        ("valid_y", c_void_p),
    ]


class CChild(Structure):
    _fields_ = [
        ("value", POINTER(CProgram)),
        ("derivatives", POINTER(CProgram)),
        ("weights", c_void_p),
        ("first", c_void_p),
        ("second", c_void_p),
        ("order", c_void_p),
        ("learning_rate", c_double),
        ("steps", c_int64),
        ("status", c_int32),
        ("diverged_epoch", c_int64),
        ("train_loss", c_void_p),
        ("train_accuracy", c_void_p),
        ("train_seconds", c_void_p),
        ("valid_loss", c_void_p),
        ("valid_accuracy", c_void_p),
    ]


class CProduct(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("a_transposed", c_int32),
        ("b_transposed", c_int32),
        ("children", c_int64),
        ("rows", c_int64),
        ("columns", c_int64),
        ("inner", c_int64),
        ("a", c_void_p),
        ("b", c_void_p),
        ("start", c_void_p),
        ("a_stride", c_int64),
        ("b_stride", c_int64),
        ("start_stride", c_int64),
        ("c", c_void_p),
    ]


class CTable(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("rows", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("segments", c_int64),
        ("lines", c_void_p),
        ("stretch", c_double),
        ("shift", c_double),
        ("rho", c_void_p),
        ("y", c_void_p),
        ("gradient", c_void_p),
        ("out", c_void_p),
        ("gradient_rho", c_void_p),
    ]


class CHermite(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("rows", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("order", c_int64),
        ("mean", c_double),
        ("deviation", c_double),
        ("reach", c_double),
        ("coefficients", c_void_p),
        ("x", c_void_p),
        ("y", c_void_p),
        ("gradient", c_void_p),
        ("out", c_void_p),
        ("gradient_coefficients", c_void_p),
    ]


class CNormalisation(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("children", c_int64),
        ("rows", c_int64),
        ("width", c_int64),
        ("eps", c_double),
        ("x", c_void_p),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("mean", c_void_p),
        ("inverse", c_void_p),
        ("gradient", c_void_p),
        ("out", c_void_p),
        ("gradient_weight", c_void_p),
        ("gradient_bias", c_void_p),
    ]


class CConvolution(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("children", c_int64),
        ("images", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("filters", c_int64),
        ("tall", c_int64),
        ("wide", c_int64),
        ("pad_y", c_int64),
        ("pad_x", c_int64),
        ("spread_y", c_int64),
        ("spread_x", c_int64),
        ("out_height", c_int64),
        ("out_width", c_int64),
        ("x", c_void_p),
        ("x_stride", c_int64),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("out", c_void_p),
        ("gradient", c_void_p),
        ("gradient_x", c_void_p),
        ("gradient_weight", c_void_p),
        ("gradient_bias", c_void_p),
    ]


class CStep(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("optimiser", c_int32),
        ("children", c_int64),
        ("segments", c_int64),
        ("step", c_int64),
        ("sizes", c_void_p),
        ("parameters", c_void_p),
        ("gradients", c_void_p),
        ("first", c_void_p),
        ("second", c_void_p),
        ("weight_decays", c_void_p),
        ("learning_rates", c_void_p),
        ("beta1", c_double),
        ("beta2", c_double),
        ("eps", c_double),
        ("momentum", c_double),
        ("nesterov", c_int32),
        ("clip_value", c_double),
        ("clip_norm", c_double),
    ]


class CAttention(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("causal", c_int32),
        ("children", c_int64),
        ("batches", c_int64),
        ("heads", c_int64),
        ("positions", c_int64),
        ("features", c_int64),
        ("scale", c_double),
        ("child", c_int64),
        ("batch", c_int64),
        ("head", c_int64),
        ("position", c_int64),
        ("out_child", c_int64),
        ("out_batch", c_int64),
        ("out_head", c_int64),
        ("out_position", c_int64),
        ("by_child", c_int64),
        ("by_batch", c_int64),
        ("by_head", c_int64),
        ("by_position", c_int64),
        ("q", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("out", c_void_p),
        ("shares", c_void_p),
        ("gradient", c_void_p),
        ("by_q", c_void_p),
        ("by_k", c_void_p),
        ("by_v", c_void_p),
    ]


class CDecisions(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("children", c_int64),
        ("rows", c_int64),
        ("classes", c_int64),
        ("ignored", c_int64),
        ("x", c_void_p),
        ("logarithms", c_void_p),
        ("targets", c_void_p),
        ("loss", c_void_p),
        ("gradient", c_void_p),
        ("scale", c_double),
    ]


class CWindows(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("backward", c_int32),
        ("planes", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("tall", c_int64),
        ("wide", c_int64),
        ("from_", c_void_p),
        ("to", c_void_p),
    ]


_FUNCTIONS = (
    "nl_interface", "nl_opcode_count", "nl_activate", "nl_train_mlp", "nl_multiply", "nl_use_isa", "nl_table_step",
    "nl_hermite_step", "nl_normalise", "nl_convolve", "nl_take_step", "nl_attend", "nl_decide", "nl_pool",
    "nl_apply",
)  # fmt: skip


@dataclass(frozen=True)
class Library:
    """The loaded core. Its functions release the GIL while they run."""

    path: str
    handle: ctypes.CDLL
    opcodes: dict[str, int]

    @property
    def isa(self) -> str:
        """The instruction set in use: "avx512", "avx2" or "base"."""
        return self.handle.nl_isa().decode()

    def use_isa(self, name: str) -> None:
        """Run on another instruction set.

        Raises
        ------
        NonlinError
            if this machine or this build has not got it
        """
        if not self.handle.nl_use_isa(name.encode()):
            raise NonlinError(
                f"the instruction set {name!r} is not there; this machine's best is {self.isa!r}. "
                "Unset NONLIN_NATIVE_ISA to use it."
            )

    def call(self, function: str, *arguments: object) -> None:
        """Call `function`; NonlinError if it reports failure."""
        code = getattr(self.handle, function)(*arguments)
        if code:
            raise NonlinError(f"the compiled core failed in {function}: {_MESSAGES.get(code, code)}.")


@lru_cache(maxsize=1)
def _find() -> tuple[Library | None, str]:
    wanted = os.environ.get("NONLIN_NATIVE", "")
    if wanted.lower() in ("0", "off", "no", "false"):
        return None, "switched off by the environment variable NONLIN_NATIVE"
    folder = Path(__file__).parent
    candidates = [Path(wanted)] if wanted not in ("", "1") else [folder / f"_core{s}" for s in EXTENSION_SUFFIXES]
    for path in candidates:
        if path.is_file():
            return _open(path)
    return None, (
        f"no compiled core at {wanted}"
        if wanted not in ("", "1")
        else "not built: reinstall nonlin where a C++17 compiler (g++ or clang++) is installed"
    )


def _open(path: Path) -> tuple[Library | None, str]:
    try:
        handle = ctypes.CDLL(str(path))
        for name in _FUNCTIONS:
            getattr(handle, name).restype = c_int32
        handle.nl_isa.restype = c_char_p
        handle.nl_opcode_name.restype = c_char_p
    except (OSError, AttributeError) as error:
        return None, f"{path.name} does not load: {error}"
    if (interface := handle.nl_interface()) != INTERFACE:
        return None, f"{path.name} has interface {interface}, expected {INTERFACE}: reinstall nonlin"
    handle.nl_use_isa.argtypes = [c_char_p]
    handle.nl_activate.argtypes = [POINTER(CActivationCall)]
    handle.nl_apply.argtypes = [c_void_p, c_int32, c_int32, c_int64, c_int64, c_int64, *[c_void_p] * 5]
    handle.nl_train_mlp.argtypes = [POINTER(CNetwork), POINTER(CChild), c_int32, c_int32]
    handle.nl_multiply.argtypes = [POINTER(CProduct)]
    handle.nl_table_step.argtypes = [POINTER(CTable)]
    handle.nl_hermite_step.argtypes = [POINTER(CHermite)]
    handle.nl_normalise.argtypes = [POINTER(CNormalisation)]
    handle.nl_convolve.argtypes = [POINTER(CConvolution)]
    handle.nl_take_step.argtypes = [POINTER(CStep)]
    handle.nl_attend.argtypes = [POINTER(CAttention)]
    handle.nl_decide.argtypes = [POINTER(CDecisions)]
    handle.nl_pool.argtypes = [POINTER(CWindows)]
    names = [handle.nl_opcode_name(k).decode() for k in range(handle.nl_opcode_count())]
    library = Library(str(path), handle, {name: k for k, name in enumerate(names)})
    from nonlin.native.program import emitted_opcodes

    if missing := emitted_opcodes() - set(names):
        return None, f"{path.name} lacks the instructions {sorted(missing)}: reinstall nonlin"
    if isa := os.environ.get("NONLIN_NATIVE_ISA", ""):
        library.use_isa(isa)
    return library, ""


def load() -> Library | None:
    """The compiled core, or None where it is not there."""
    return _find()[0]


def available() -> bool:
    """Whether the compiled core is there; where it is not, torch does the same work more slowly."""
    return load() is not None


def reason() -> str:
    """Why the compiled core is not there; empty if it is."""
    return _find()[1]
