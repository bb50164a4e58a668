"""Finding and loading the compiled core.

The core is optional. Where it is missing, was built from other sources, or is switched off by
``NONLIN_NATIVE=0``, `load` returns None, `reason` says why, and every caller has a torch path.
``NONLIN_NATIVE=/path/to/library`` uses another build; ``NONLIN_NATIVE_ISA=avx512|avx2|base`` chooses the
instruction set (otherwise the best that the machine has).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from nonlin.errors import NonlinError
from nonlin.native.structures import (
    CActivationCall,
    CAttention,
    CChild,
    CConvolution,
    CDecisions,
    CHermite,
    CNetwork,
    CNormalisation,
    CProduct,
    CStep,
    CTable,
    CWindows,
)

INTERFACE = 6  # core/interface.h: NONLIN_INTERFACE
FLOAT32, FLOAT64 = 0, 1
_MESSAGES = {1: "out of memory", 2: "a program or a size that the core cannot take"}


_FUNCTIONS = (
    "nl_interface", "nl_opcode_count", "nl_activate", "nl_train_mlp", "nl_multiply", "nl_use_isa", "nl_table_step",
    "nl_hermite_step", "nl_normalise", "nl_convolve", "nl_take_step", "nl_attend", "nl_decide", "nl_pool",
    "nl_apply", "nl_adapt", "nl_adapt_backward",
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
        entry = getattr(self.handle, function)
        check(entry(*arguments), function)
        if (hears := getattr(_listening, "hears", None)) is not None:
            hears(partial(entry, *arguments))


def check(code: int, function: str = "a call") -> None:
    """NonlinError if a function of the core reported failure."""
    if code:
        raise NonlinError(f"the compiled core failed in {function}: {_MESSAGES.get(code, code)}.")


_listening = threading.local()


@contextmanager
def calls_to(hears: Callable[[Callable[[], int]], None]) -> Iterator[None]:
    """Let `hears` know of every call of the core by this thread: what makes it again and gives the code for `check`."""
    _listening.hears = hears
    try:
        yield
    finally:
        _listening.hears = None


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
    handle.nl_adapt.argtypes = [c_char_p]
    handle.nl_adapt_backward.argtypes = [c_char_p]
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
