"""Checks that your own strategies and spaces can run: what a search expects of them.

    import nonlin as nl
    nl.testing.check_strategy(MyStrategy)      # then nl.search(strategy=MyStrategy) will work
    nl.testing.check_space("my.toml")

Both raise `CheckError`, which says what was expected, what came instead and what to do about it.
"""

from nonlin.testing.errors import CheckError
from nonlin.testing.spaces import check_space
from nonlin.testing.strategies import check_strategy

__all__ = ["CheckError", "check_space", "check_strategy"]
