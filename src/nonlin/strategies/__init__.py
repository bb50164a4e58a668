"""Spaces of expressions, and the strategies that choose among them."""

from nonlin.strategies.census import Census, census
from nonlin.strategies.spaces import SPACES, Space, space
from nonlin.strategies.strategy import STRATEGIES, Strategy, strategy

__all__ = ["SPACES", "STRATEGIES", "Census", "Space", "Strategy", "census", "space", "strategy"]
