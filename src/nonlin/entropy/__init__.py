"""Entropy of activations: measure it, find the function where it is largest, and move away from it.

    density ──► H, J            how much entropy the output of f has
        │  └──► overlap         two classes seen through f
        ├─────► worst           the f of largest entropy: the distribution function
        ├─────► correction      the direction in which f loses entropy fastest
        └─────► improve         the three steps from f to a better activation

Everything is in nats. Pre-activations have a `density`, or are given as samples. References: H. Sun
et al. 2024, arXiv 2405.12954; the derivation, with the places where it goes further, is in
docs/theory.md.
"""

from nonlin.entropy.base import Density, Measured
from nonlin.entropy.correction import Correction, correction
from nonlin.entropy.density import density
from nonlin.entropy.improve import Improvement, improve
from nonlin.entropy.measure import H, J, entropy, moments, scale_free
from nonlin.entropy.numeric import NumericActivation
from nonlin.entropy.overlap import Overlap, overlap
from nonlin.entropy.samples import batch_entropy
from nonlin.entropy.worst import worst

__all__ = [
    "Correction",
    "Density",
    "H",
    "Improvement",
    "J",
    "Measured",
    "NumericActivation",
    "Overlap",
    "batch_entropy",
    "correction",
    "density",
    "entropy",
    "improve",
    "moments",
    "overlap",
    "scale_free",
    "worst",
]
