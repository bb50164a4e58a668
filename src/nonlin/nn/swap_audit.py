"""After a swap: are there still activations computed where `swap` could not reach them?

Calls in functions outside the model's classes cannot be seen in the classes' source. A run on an example
shows them with their file and line; without an example `torch.fx` does, where the model can be traced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.fx import Tracer
from torch.overrides import TorchFunctionMode

from nonlin.nn.swap_probe import run_example
from nonlin.nn.swap_sites import Skipped
from nonlin.nn.swap_table import FUNCTIONS, Wanted

_OUTSIDE = "called by a function outside the model's own classes; call it from a module's method, or pass the new one"


def remaining(model: nn.Module, wanted: Wanted, example: Any) -> list[Skipped]:
    """Wanted functions that the model still calls."""
    if example is not None:
        watch = _Watch(wanted)
        with watch:
            run_example(model, example)
        return [Skipped("", f"{name} at {place}", _OUTSIDE) for name, place in dict.fromkeys(watch.calls)]
    try:
        return list(_traced(model, wanted))
    except Exception as error:  # whatever the model's code raises under proxies
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        return [
            Skipped(
                "",
                "calls in functions outside its classes",
                f"not looked for: torch.fx cannot trace the model ({reason}). Pass example= to look by running it",
            )
        ]


class _LeafTracer(Tracer):
    """Traces a user's modules, and takes those of torch and nonlin as they are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.split(".")[0] == "nonlin" or super().is_leaf_module(m, module_qualified_name)


def _traced(model: nn.Module, wanted: Wanted) -> Iterator[Skipped]:
    tracer = _LeafTracer()
    tracer.record_stack_traces = True
    for node in tracer.trace(model).nodes:
        by_function = node.op == "call_function" and wanted.function(node.target)
        if by_function or (node.op == "call_method" and wanted.method(node.target)):
            name = node.target if isinstance(node.target, str) else node.target.__name__
            yield Skipped("", f"{name} at {_place(node.stack_trace or '') or node.name}", _OUTSIDE)


def _place(trace: str) -> str:
    """The innermost line of a stack trace that is not torch's own: ``File "net.py", line 12, in block``."""
    own = os.path.dirname(torch.__file__)
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File") and own not in line]
    return lines[-1] if lines else ""


class _Watch(TorchFunctionMode):
    """Notes the calls of wanted functions that do not come from torch's or our own modules."""

    def __init__(self, wanted: Wanted):
        super().__init__()
        self.wanted = wanted
        self.calls: list[tuple[str, str]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in FUNCTIONS and self.wanted.function(func):
            frame = sys._getframe(1)
            while frame.f_back is not None and _module(frame) in ("torch.nn.functional", "torch.overrides"):
                frame = frame.f_back
            if _module(frame).split(".")[0] not in ("torch", "nonlin") and not _in_our_kernel(frame):
                place = f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
                self.calls.append((func.__name__, place))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def _module(frame) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _in_our_kernel(frame) -> bool:
    """Whether the call comes from the new activation itself, whose formula may well contain relu."""
    while frame is not None and not _module(frame).startswith("nonlin.native"):
        frame = frame.f_back
    return frame is not None
