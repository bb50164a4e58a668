"""A search strategy of your own: hill climbing. Checked by nonlin's conformance suite, then used in a search."""

import math

import numpy as np

import nonlin as nl
from nonlin.strategies.moves import mutate


class HillClimbing:
    """Small moves from the best function so far, and now and then a fresh start."""

    def __init__(self, space, seed):
        self.space, self.generator = space, np.random.default_rng(seed)
        self.best, self.least = None, math.inf

    def ask(self):
        """The next expression to try; None would end the search."""
        if self.best is None or self.generator.random() < 0.2:
            return self.space.sample(self.generator)
        return self.space.decode(mutate(self.space, self.best, self.generator))

    def tell(self, expr, score, loss):
        """Outcomes come in any order; NaN from a child that diverged, failed or was skipped."""
        code = self.space.encode(expr)  # None for the well-known functions outside the space
        if code is not None and loss < self.least:
            self.best, self.least = list(code), loss

    def state_dict(self):
        """All that changes, as JSON values: a search resumes from it exactly."""
        return {"best": self.best, "least": self.least, "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state):
        """Continue from what `state_dict` gave."""
        self.best, self.least = state["best"], state["least"]
        self.generator.bit_generator.state = state["generator"]


if __name__ == "__main__":
    nl.testing.check_strategy(HillClimbing)
    study = nl.search("digits-mlp", space="core-1", strategy=HillClimbing, budget=40)
    for row in study.top(3):
        print(f"{row.score:.4f}  {row.formula}")
