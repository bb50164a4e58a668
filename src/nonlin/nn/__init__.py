"""What concerns networks: gains, the initialisation that matches an activation, adaptive layers."""

from nonlin.nn.adaptive import Adaptive
from nonlin.nn.adaptive_groups import parameter_groups
from nonlin.nn.adaptive_schedule import step
from nonlin.nn.gains import gain
from nonlin.nn.kan import KANLinear

__all__ = ["Adaptive", "KANLinear", "gain", "parameter_groups", "step"]
