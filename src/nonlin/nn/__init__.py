"""What concerns networks: gains, the initialisation that matches an activation, adaptive layers, gated
units, self-normalisation, swapping inside existing models."""

from nonlin.nn.adaptive import Adaptive
from nonlin.nn.adaptive_groups import parameter_groups
from nonlin.nn.adaptive_schedule import step
from nonlin.nn.gains import gain
from nonlin.nn.gated import CReLU, Gated, GatedFeedForward, GatedLinear, Maxout
from nonlin.nn.kan import KANLinear
from nonlin.nn.piecewise_linear import APL, RReLU, SReLU
from nonlin.nn.self_normalising import alpha_dropout, lecun_normal_
from nonlin.nn.swap import Swapped, swap
from nonlin.nn.swap_blend import Blend, finish_blends
from nonlin.nn.whole_vector import Derf, DyT, MetaACON, PolyNorm, PolyReLU

__all__ = [
    "APL",
    "Adaptive",
    "Blend",
    "CReLU",
    "Derf",
    "DyT",
    "Gated",
    "GatedFeedForward",
    "GatedLinear",
    "KANLinear",
    "Maxout",
    "MetaACON",
    "PolyNorm",
    "PolyReLU",
    "RReLU",
    "SReLU",
    "Swapped",
    "alpha_dropout",
    "finish_blends",
    "gain",
    "lecun_normal_",
    "parameter_groups",
    "step",
    "swap",
]
