"""What concerns networks: gains and the initialisation that matches an activation."""

from nonlin.nn.gains import gain

__all__ = ["gain"]
