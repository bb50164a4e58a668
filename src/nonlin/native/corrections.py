"""The corrections of adaptive layers by the compiled core: in eager mode at once, under torch.compile as operators.

`torch.compile`'s own code for a look-up in a table is four times as slow on a CPU as the core's, and it
computes the function again for each of its gradients. So a compiled graph calls `torch.ops.nonlin` there,
which breaks no graph. Graphs for export hold torch's own operators alone (see `fits`).
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nonlin.native.library import FLOAT32, FLOAT64, load
from nonlin.native.structures import CHermite, CTable

DTYPES = {torch.float32: FLOAT32, torch.float64: FLOAT64}
WIDE = {torch.float32: torch.float32, torch.float64: torch.float64,
         torch.float16: torch.float32, torch.bfloat16: torch.float32}  # fmt: skip
_exporting = getattr(torch.compiler, "is_exporting", lambda: True)  # before torch 2.7: any graph might be exported
_ready = False  # whether the operators stand and the core is there; a plain bool, which a compiled graph can read


def prepare() -> None:
    """Load the core now: a graph that is being compiled cannot."""
    global _ready
    _ready = load() is not None


def observed() -> bool:
    """Whether something follows the tensors' operations (a transform, a tracer, a dispatch mode)."""
    return bool(
        torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack() or torch.jit.is_tracing()
    )


def ordinary(x: Tensor) -> bool:
    """Whether a function's result for x may be computed on x's memory, behind torch's back."""
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype in WIDE
        and x.layout is torch.strided
        and not x.is_neg()
        and not observed()
    )


def plain(x: Tensor) -> bool:
    """The same for functions that read memory in x's own order."""
    return ordinary(x) and x.is_contiguous()


def fits(y: Tensor, numbers: Tensor) -> bool:
    """Whether `table_step` and its kin take y now; `numbers` is rho or one coefficient, as it broadcasts against y."""
    shape = numbers.shape
    aligned = numbers.dim() == 0 or (numbers.dim() <= y.dim() and all(size == 1 for size in shape[1:])
                                     and shape[0] == y.shape[y.dim() - numbers.dim()])  # fmt: skip
    if not (_ready and aligned and y.device.type == "cpu" and y.dtype in WIDE):
        return False
    return not _exporting() if torch.compiler.is_compiling() else plain(y)


def layout(y: Tensor, numbers: Sequence[int]) -> tuple[int, int, int]:
    """(rows, channels, inner) of y for numbers of this shape, () or (channels, 1, ...)."""
    if not numbers:
        return 1, 1, y.numel()
    first = y.dim() - len(numbers)
    return math.prod(y.shape[:first]), y.shape[first], math.prod(y.shape[first + 1 :])


def dense(value: Tensor, dtype: torch.dtype) -> Tensor:
    if value.dtype == dtype and value.is_contiguous():
        return value
    return value.detach().to(dtype).contiguous()


def _call(name: str, call: CTable | CHermite) -> None:
    library = load()
    assert library is not None
    library.call(name, ctypes.byref(call))


def _table(y: Tensor, rho: Tensor, lines: Tensor, stretch: Tensor, shift: Tensor) -> tuple[CTable, tuple]:
    """The call without its results, and what must stay alive while it runs."""
    dtype = WIDE[y.dtype]
    alive = dense(y, dtype), dense(rho, dtype), dense(lines, dtype)
    call = CTable(
        DTYPES[dtype], torch.get_num_threads(), *layout(y, rho.shape), lines.shape[1], alive[2].data_ptr(),
        float(stretch), float(shift), alive[1].data_ptr(), alive[0].data_ptr(),
    )  # fmt: skip
    return call, alive


def table_step(y: Tensor, rho: Tensor, lines: Tensor, stretch: Tensor, shift: Tensor) -> Tensor:
    """y + rho·T(y); see `nonlin.nn.adaptive_operations.TableStep`."""
    call, alive = _table(y, rho, lines, stretch, shift)
    out = torch.empty_like(alive[0])
    call.out = out.data_ptr()
    _call("nl_table_step", call)
    return out.to(y.dtype)


def table_step_backward(
    gradient: Tensor, y: Tensor, rho: Tensor, lines: Tensor, stretch: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients by y and by rho."""
    call, alive = _table(y, rho, lines, stretch, shift)
    incoming, by_y, by_rho = dense(gradient, alive[0].dtype), torch.empty_like(alive[0]), torch.empty_like(alive[1])
    call.gradient, call.out, call.gradient_rho = incoming.data_ptr(), by_y.data_ptr(), by_rho.data_ptr()
    _call("nl_table_step", call)
    return by_y.to(y.dtype), by_rho.to(rho.dtype)


def _hermite(x: Tensor, mean: Tensor, deviation: Tensor, coefficients: Tensor, reach: float) -> tuple[CHermite, tuple]:
    dtype = WIDE[x.dtype]
    alive = dense(x, dtype), dense(coefficients, dtype)
    call = CHermite(
        DTYPES[dtype], torch.get_num_threads(), *layout(x, coefficients.shape[1:]), len(coefficients), float(mean),
        float(deviation), reach, alive[1].data_ptr(), alive[0].data_ptr(),
    )  # fmt: skip
    return call, alive


def hermite_step(x: Tensor, y: Tensor, mean: Tensor, deviation: Tensor, coefficients: Tensor, reach: float) -> Tensor:
    """y + s·Σ a_k z^k e^{-z²/2}; see `nonlin.nn.adaptive_operations.HermiteStep`."""
    call, alive = _hermite(x, mean, deviation, coefficients, reach)
    base, out = dense(y, alive[0].dtype), torch.empty_like(alive[0])
    call.y, call.out = base.data_ptr(), out.data_ptr()
    _call("nl_hermite_step", call)
    return out.to(x.dtype)


def hermite_step_backward(
    gradient: Tensor, x: Tensor, mean: Tensor, deviation: Tensor, coefficients: Tensor, reach: float
) -> tuple[Tensor, Tensor]:
    """The gradients by x (of the added terms alone) and by the coefficients."""
    call, alive = _hermite(x, mean, deviation, coefficients, reach)
    incoming, by_x, sums = dense(gradient, alive[0].dtype), torch.empty_like(alive[0]), torch.empty_like(alive[1])
    call.gradient, call.out, call.gradient_coefficients = incoming.data_ptr(), by_x.data_ptr(), sums.data_ptr()
    _call("nl_hermite_step", call)
    return by_x.to(x.dtype), sums.to(coefficients.dtype)


# The same as operators of torch, for compiled graphs.

operators = torch.library.Library("nonlin", "DEF")
operators.define("table_step(Tensor y, Tensor rho, Tensor lines, Tensor stretch, Tensor shift) -> Tensor")
operators.define(
    "table_step_backward(Tensor gradient, Tensor y, Tensor rho, Tensor lines, Tensor stretch, Tensor shift)"
    " -> (Tensor, Tensor)"
)
operators.define(
    "hermite_step(Tensor x, Tensor y, Tensor mean, Tensor deviation, Tensor coefficients, float reach) -> Tensor"
)
operators.define(
    "hermite_step_backward(Tensor gradient, Tensor x, Tensor mean, Tensor deviation, Tensor coefficients,"
    " float reach) -> (Tensor, Tensor)"
)
for _function in (table_step, table_step_backward, hermite_step, hermite_step_backward):
    operators.impl(_function.__name__, _function, "CPU")


def like(value: Tensor) -> Tensor:
    return torch.empty_like(value, memory_format=torch.contiguous_format)


torch.library.register_fake("nonlin::table_step", lambda y, *_: like(y), lib=operators)
torch.library.register_fake("nonlin::hermite_step", lambda x, *_: like(x), lib=operators)
torch.library.register_fake(
    "nonlin::table_step_backward", lambda gradient, y, rho, *_: (like(y), like(rho)), lib=operators
)
torch.library.register_fake(
    "nonlin::hermite_step_backward",
    lambda gradient, x, mean, deviation, coefficients, reach: (like(x), like(coefficients)),
    lib=operators,
)
