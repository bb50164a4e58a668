"""One thread for small arrays: waking others costs more than they compute, above all on a busy machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_here = threading.local()  # .open: whether this thread is in `one_thread`


@contextmanager
def one_thread() -> Iterator[None]:
    """torch and NumPy's linear algebra on one thread while this is open. Costs some microseconds, or one inside
    another."""
    if getattr(_here, "open", False):
        yield
        return
    import torch

    several = [(library, library.get_num_threads()) for library in _libraries()]
    several = [(library, count) for library, count in several if count != 1]
    threads = torch.get_num_threads()
    _here.open = True
    try:
        for library, _ in several:
            library.set_num_threads(1)
        if threads != 1:
            torch.set_num_threads(1)
        yield
    finally:
        _here.open = False
        for library, count in several:
            library.set_num_threads(count)
        if threads != 1:
            torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _libraries() -> list[Any]:
    import scipy.linalg  # noqa: F401 - the controller knows what is loaded when it is made
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController().select(user_api="blas").lib_controllers
