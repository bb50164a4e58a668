"""Training children: `fit` is the plain reference, `fit_in_core` its fast equal for multilayer perceptrons."""

from nonlin.train.engine import fit_in_core, obstacle
from nonlin.train.fit import fit
from nonlin.train.initial import Protocol
from nonlin.train.outcome import Outcome

__all__ = ["Outcome", "Protocol", "fit", "fit_in_core", "obstacle"]
