"""Training children: `fit` is the plain reference; its fast equals are `fit_in_core`, for multilayer perceptrons, and
`fit_cohort`, for many children of any model that differ in their activation.

    fit_cohort ── capture (what the model does, recorded) ── simplify ── plan (K children at once)
                                                                          └── rules, loss_rules, layer_rules
"""

from nonlin.train.cohort import cohort_size, fit_cohort
from nonlin.train.engine import fit_in_core, obstacle
from nonlin.train.fit import fit
from nonlin.train.initial import Protocol
from nonlin.train.outcome import Outcome

__all__ = ["Outcome", "Protocol", "cohort_size", "fit", "fit_cohort", "fit_in_core", "obstacle"]
