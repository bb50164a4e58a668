"""What of nonlin works on this machine, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Literal

import nonlin


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    subject : such as "compiled core"
    state : "ok", "missing" (nonlin works without it) or "broken"
    found : what there is
    advice : what to do about it; empty if nothing
    """

    subject: str
    state: Literal["ok", "missing", "broken"]
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at versions, the compiled core, accelerators, threads, data and optional packages."""
    return [*_versions(), _core(), _accelerator(), _threads(), _data(), *_extras()]


def _versions() -> Iterator[Finding]:
    yield Finding("nonlin", "ok", f"{nonlin.__version__} in {os.path.dirname(nonlin.__file__)}")
    yield Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")
    for requirement in _requirements(""):
        yield _package(requirement, needed=True)


def _core() -> Finding:
    """The compiled core is asked for a value, not only for its presence."""
    import torch

    from nonlin import native
    from nonlin.native.library import load

    library = load()
    if library is None:
        compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
        advice = "Reinstall nonlin to build it" if compiler else "Install g++ or clang++ and reinstall nonlin"
        return Finding(
            "compiled core", "missing", native.reason(), f"{advice}; until then training runs on torch, more slowly."
        )
    x = torch.linspace(-3, 3, 101)
    value = native.forward(native.function(nonlin.activation("gelu").expr), x)
    if not torch.allclose(value, torch.nn.functional.gelu(x), atol=1e-5):
        return Finding("compiled core", "broken", "it gives wrong values of GELU", "Reinstall nonlin to rebuild it.")
    return Finding("compiled core", "ok", f"{library.isa} instructions")


def _accelerator() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", "ok", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))
    if torch.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple silicon (mps)")
    built = "is built for CUDA, but finds no GPU" if torch.version.cuda else "is built for the CPU alone"
    return Finding("GPU", "missing", f"torch {built}", "Searches on small tasks do not need one.")


def _threads() -> Finding:
    import torch

    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    return Finding("threads", "ok", f"{cores} cores; torch uses {threads}", "" if cores == 1 else _workers(cores))


def _workers(cores: int) -> str:
    return f"`nonlin search --workers {cores}` trains on every core."


def _data() -> Finding:
    from nonlin.tasks import TASKS, is_there

    away = [name for name, task in TASKS.items() if not is_there(task)]
    here = f"{len(TASKS) - len(away)} of {len(TASKS)} tasks have their data"
    if not away:
        return Finding("data", "ok", here)
    return Finding("data", "missing", here, "`nonlin tasks` says which are without, and where theirs comes from.")


def _extras() -> Iterator[Finding]:
    names = distribution("nonlin").metadata.get_all("Provides-Extra") or []
    for extra in names:
        if extra in {"dev", "docs"}:
            continue
        findings = [_package(requirement, needed=False) for requirement in _requirements(extra)]
        bad = [finding for finding in findings if finding.state != "ok"]
        found = ", ".join(f"{finding.subject} {finding.found}" for finding in findings)
        advice = f"pip install 'nonlin[{extra}]'" if bad else ""
        yield Finding(f"extra {extra}", bad[0].state if bad else "ok", found, advice)


def _requirements(extra: str) -> list[str]:
    """Requirements of nonlin itself (extra ""), or of one of its extras, without markers: "torch>=2.6"."""
    found = []
    for line in distribution("nonlin").requires or []:
        requirement, _, marker = line.partition(";")
        named = re.search(r"extra == ['\"](.+?)['\"]", marker)
        if (named[1] if named else "") == extra:
            found.append(requirement.strip())
    return found


def _package(requirement: str, needed: bool) -> Finding:
    name = re.split(r"[<>=!~\[ ]", requirement)[0]
    least = re.search(r">=\s*([\d.]+)", requirement)
    advice = f"pip install '{requirement}'"
    try:
        there = version(name)
    except PackageNotFoundError:
        return Finding(name, "broken" if needed else "missing", "not installed", advice)
    if least and _numbers(there) < _numbers(least[1]):
        return Finding(name, "broken", f"{there}, older than {least[1]}", advice)
    return Finding(name, "ok", there)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
