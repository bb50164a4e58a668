"""Training children: `fit` is the plain reference."""

from nonlin.train.fit import fit
from nonlin.train.outcome import Outcome

__all__ = ["Outcome", "fit"]
