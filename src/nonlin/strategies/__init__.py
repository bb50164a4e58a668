"""Spaces of expressions, and the strategies that choose among them."""

from nonlin.strategies.census import Census, Estimate, census, count, estimate, listable
from nonlin.strategies.load import load_space
from nonlin.strategies.spaces import SPACES, Space, space
from nonlin.strategies.strategy import STRATEGIES, Strategy, StrategyFactory, strategy

__all__ = [
    "SPACES",
    "STRATEGIES",
    "Census",
    "Estimate",
    "Space",
    "Strategy",
    "StrategyFactory",
    "census",
    "count",
    "estimate",
    "listable",
    "load_space",
    "space",
    "strategy",
]
