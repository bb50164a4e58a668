"""timm imports torchvision, of which its models need nothing: here is an empty one, for as long as the import takes.

It must not stay: transformers, too, looks whether there is a torchvision, and would believe in it.
"""

import importlib.machinery
import importlib.util
import sys
import types
from contextlib import contextmanager


class _Names(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Empty(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Names(name, (), {})


class _Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, _Finder, is_package=True)

    @staticmethod
    def create_module(spec):
        return _Empty(spec.name)

    @staticmethod
    def exec_module(module):
        module.__version__ = "0"


@contextmanager
def torchvision_or_stub():
    """Inside, ``import timm`` works whether or not there is a torchvision."""
    if importlib.util.find_spec("torchvision"):
        yield
        return
    sys.meta_path.insert(0, _Finder)
    try:
        yield
    finally:
        sys.meta_path.remove(_Finder)
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
