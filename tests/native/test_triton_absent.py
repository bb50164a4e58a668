"""Without Triton, or with it switched off, nothing else changes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import nonlin.native
from nonlin.native import triton_activation


@pytest.fixture
def asked_anew():
    """The answers are kept for the life of a process."""
    triton_activation.reason.cache_clear()
    triton_activation._setting.cache_clear()
    yield
    triton_activation.reason.cache_clear()
    triton_activation._setting.cache_clear()


def _without_kernel(monkeypatch):
    monkeypatch.delenv("NONLIN_TRITON", raising=False)
    monkeypatch.delitem(sys.modules, "nonlin.native.triton_kernel", raising=False)
    monkeypatch.delattr(nonlin.native, "triton_kernel", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)


def test_not_installed(monkeypatch, asked_anew):
    _without_kernel(monkeypatch)
    assert "pip install 'nonlin[triton]'" in triton_activation.reason()


def test_too_old(monkeypatch, asked_anew):
    _without_kernel(monkeypatch)
    monkeypatch.setattr(triton_activation, "version", lambda name: "3.2.0")
    assert "3.2.0 is older than 3.3" in triton_activation.reason()


def test_switched_off(monkeypatch, asked_anew):
    monkeypatch.setenv("NONLIN_TRITON", "0")
    assert "NONLIN_TRITON" in triton_activation.reason()
    assert not triton_activation.for_modules(torch.ones(2))


def test_a_tensor_on_a_cpu_is_not_for_it():
    assert not triton_activation.usable(torch.ones(2))


def test_it_is_not_loaded_for_a_cpu():
    """A network of a cohort and a module, with no GPU: Triton takes a second to load."""
    text = (
        "import sys, torch, nonlin as nl\n"
        "from nonlin.native.program import function\n"
        "from nonlin.native.stacked_activation import Activations\n"
        "silu = nl.activation('silu')\n"
        "Activations([function(silu.expr)]).forward(torch.ones(1, 4), torch.ones(1, 0, 1), 1, 1)\n"
        "silu.module()(torch.ones(3, requires_grad=True)).sum().backward()\n"
        "assert 'nonlin.native.triton_kernel' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
