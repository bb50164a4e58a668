"""A recurrent controller trained by proximal policy optimisation, as in the Swish search.

The reward of a function is its merit among all told so far, from 0 (worst, or diverged) to 1, squared, so that the
difference between good and best counts for more than that between bad and middling; the baseline an exponential moving
average of rewards; advantages are divided by their deviation in a batch. There are tens of answers and not tens of
thousands, so every one must go far: what is learned of a function holds in part for those like it, by their outputs;
and beside the policy gradient the controller imitates the best functions so far, so that what was good is not forgotten
within a few updates. Codes are drawn many at once, all different, and proposed one after another until the next update.
Those that cannot be worth training (constant, a straight line, not finite) or were tried before are passed over and
cost nothing; nothing is learned from them, since they are so many that they would outvote the answers.

References: [Ramachandran2017] arXiv:1710.05941, section 2; [Schulman2017] J. Schulman et al., Proximal policy
optimization algorithms, 2017, arXiv:1707.06347, equation 7; [Bello2017] arXiv:1709.07417, section 3; [Abolafia2018] D.
Abolafia et al., Neural program synthesis with priority queue training, 2018, arXiv:1801.03526, for the imitation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nonlin.expr import Expr
from nonlin.strategies.beams import distinct
from nonlin.strategies.controller import Adam, Controller, pack, unpack_into
from nonlin.strategies.memory import Memory
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

DRAWN = (96, 192, 768)  # codes drawn at once, while these bring nothing new; then something is taken at random
LARGEST = 48  # batch; or, where many functions are out, ...
OUT = 8  # ... one for so many of them: those that follow from an update come that much later anyhow
OUTSTANDING = 0.75  # merit of what is imitated, at least
SHARPNESS = 2  # power of a merit that is its reward


class PPO:
    """An RNN controller trained by PPO.

    Parameters
    ----------
    space, seed : where to search, and the seed of all choices
    hidden : width of the recurrent layer and of the embeddings
    batch, growth : answers for the first update, and for each later one as many more as this share of all answers: the
        first ones change the most
    epochs : gradient steps for one update
    learning_rate : of Adam
    clip : bound on the change of a choice's probability ratio
    entropy : weight of the entropy bonus
    decay : of the moving average that is the baseline
    imitated, imitation : how many of the best functions so far are imitated, and the weight of their log-probability
    share : how much of what is learned of a function is learned of those like it
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        hidden: int = 16,
        batch: int = 5,
        growth: float = 0.2,
        epochs: int = 4,
        learning_rate: float = 0.025,
        clip: float = 0.2,
        entropy: float = 0.02,
        decay: float = 0.9,
        imitated: int = 8,
        imitation: float = 1.0,
        share: float = 0.9,
    ):
        self.space, self.batch, self.growth, self.epochs = space, batch, growth, epochs
        self.clip, self.entropy, self.decay = clip, entropy, decay
        self.imitated, self.imitation = imitated, imitation
        self.generator = np.random.default_rng(seed)
        self.controller = Controller(space, hidden, self.generator, share=share)
        self.adam = Adam(self.controller.weights, learning_rate)
        self.memory = Memory(space)
        self.drawn: list[Code] = []  # of the present policy, to be proposed from the last to the first
        self.waiting: list[int] = []  # numbers of told codes that the controller has not learned from
        self.baseline: float | None = None
        self.packed: list[str] | None = None  # weights and moments as text, until they change

    def ask(self) -> Expr | None:
        code = self._next()
        if code is None:
            code = self.memory.anything(self.generator)
        return None if code is None else self.memory.ask(code)

    def _next(self) -> Code | None:
        """The next drawn code that is new and worth training; None if many draws bring none."""
        for count in DRAWN:
            if not self.drawn:
                with one_thread():
                    drawn = distinct(self.controller, count, self.generator)
                self.drawn = [drawn[k] for k in reversed(self.memory.fresh(drawn))]
            while self.drawn:
                code = self.drawn.pop()
                if self.memory.is_fresh(code):
                    return code
        return None

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        number = self.memory.tell(expr, score, loss)
        if number is not None and number not in self.waiting:
            self.waiting.append(number)
        enough = min(max(LARGEST, self.memory.out // OUT), self.batch + int(self.growth * len(self.memory.results)))
        if len(self.waiting) >= enough:
            with one_thread():
                self._update()

    def _update(self) -> None:
        """One PPO update from the answers that wait."""
        codes, advantages = self._batch()
        best, before = self._models(), None
        layout = self.controller.layout([*codes, *best])
        for _ in range(self.epochs):
            judged = self.controller.judge(layout)
            logs = judged.logs[: len(codes)]
            before = logs if before is None else before
            by_log, by_entropy = np.zeros_like(judged.logs), np.zeros_like(judged.logs)
            by_log[: len(codes)] = clipped_slope(np.exp(logs - before), advantages[:, None], self.clip) / len(codes)
            by_log[len(codes) :] = self.imitation / max(1, len(best))
            by_entropy[: len(codes)] = self.entropy / len(codes)
            self.adam.climb(self.controller.slope(judged, by_log, by_entropy))
        self.waiting, self.drawn, self.packed = [], [], None

    def _models(self) -> list[Code]:
        """What is imitated: the best so far, as far as they stand out. Of few or equal answers none do."""
        best = self.memory.best(self.imitated)
        return [self.memory.codes[k] for k, m in zip(best, self.memory.merits_of(best), strict=True) if m > OUTSTANDING]

    def _batch(self) -> tuple[list[Code], np.ndarray]:
        """Codes that wait, and their advantages over the baseline, which moves on."""
        rewards = self.memory.merits_of(self.waiting) ** SHARPNESS
        self.baseline = float(rewards.mean()) if self.baseline is None else self.baseline
        advantages = rewards - self.baseline
        self.baseline = self.decay * self.baseline + (1 - self.decay) * float(rewards.mean())
        return [self.memory.codes[number] for number in self.waiting], advantages / (advantages.std() + 1e-3)

    def state_dict(self) -> dict[str, Any]:
        if self.packed is None:
            self.packed = [pack(vector) for vector in self._vectors()]
        return {
            "memory": self.memory.state_dict(), "drawn": [list(code) for code in self.drawn],
            "waiting": list(self.waiting), "baseline": self.baseline,
            "generator": self.generator.bit_generator.state, "weights": list(self.packed), "steps": self.adam.steps,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load_state_dict(state["memory"])
        self.drawn = [tuple(code) for code in state["drawn"]]
        self.waiting, self.baseline = list(state["waiting"]), state["baseline"]
        self.generator.bit_generator.state = state["generator"]
        for vector, text in zip(self._vectors(), state["weights"], strict=True):
            unpack_into(vector, text)
        self.adam.steps, self.packed = state["steps"], None

    def _vectors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The controller's weights, and Adam's two moments."""
        return self.controller.weights, self.adam.mean, self.adam.square


def clipped_slope(ratio: np.ndarray, advantage: np.ndarray, clip: float) -> np.ndarray:
    """The derivative of min(r·A, clip(r, 1-c, 1+c)·A), equation 7 of Schulman et al. (2017), by log r.

    r·A where moving further still counts, 0 where the ratio has left the range in the direction of the advantage.
    """
    counts = np.where(advantage >= 0, ratio <= 1 + clip, ratio >= 1 - clip)
    return ratio * advantage * counts
