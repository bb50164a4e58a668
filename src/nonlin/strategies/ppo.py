"""A recurrent controller trained by proximal policy optimisation, as in the Swish search.

The reward of a function is its merit among all told so far, from 0 (worst, or diverged) to 1, squared, so that the
difference between good and best counts for more than that between bad and middling; the baseline an exponential moving
average of rewards; advantages are divided by their deviation in a batch. Beside the policy gradient the controller
imitates, a little, the best functions so far: with tens of answers and not tens of thousands, what was good must not be
forgotten within a few updates. What cannot be worth training (constant, a straight line, not finite) is never
proposed: it goes into the next update with reward 0 and costs nothing. What was tried before is drawn again.

References: [Ramachandran2017] arXiv:1710.05941, section 2; [Schulman2017] J. Schulman et al., Proximal policy
optimization algorithms, 2017, arXiv:1707.06347, equation 7; [Bello2017] arXiv:1709.07417, section 3; [Abolafia2018] D.
Abolafia et al., Neural program synthesis with priority queue training, 2018, arXiv:1801.03526, for the imitation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nonlin.expr import Expr
from nonlin.strategies.controller import Controller, pack, unpack_into
from nonlin.strategies.memory import Memory, first_fresh, merit
from nonlin.strategies.spaces import Code, Space
from nonlin.strategies.threads import one_thread

DRAWN = 32  # codes drawn for one proposal
SHARPNESS = 2  # power of a merit that is its reward


class PPO:
    """An RNN controller trained by PPO.

    Parameters
    ----------
    space, seed : where to search, and the seed of all choices
    hidden : width of the recurrent layer and of the embeddings
    batch : answers for one update
    epochs : gradient steps for one update
    learning_rate : of Adam
    clip : bound on the change of a choice's probability ratio
    entropy : weight of the entropy bonus
    decay : of the moving average that is the baseline
    imitated, imitation : how many of the best functions so far are imitated, and the weight of their log-probability
    """

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        hidden: int = 32,
        batch: int = 5,
        epochs: int = 6,
        learning_rate: float = 0.01,
        clip: float = 0.2,
        entropy: float = 0.02,
        decay: float = 0.9,
        imitated: int = 8,
        imitation: float = 0.5,
    ):
        self.space, self.batch, self.epochs = space, batch, epochs
        self.clip, self.entropy, self.decay = clip, entropy, decay
        self.imitated, self.imitation = imitated, imitation
        self.generator = np.random.default_rng(seed)
        self.controller = Controller(space, hidden, self.generator)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), lr=learning_rate)
        self.memory = Memory(space)
        self.waiting: list[int] = []  # numbers of told codes that the controller has not learned from
        self.invalid: list[Code] = []  # drawn and worthless
        self.baseline: float | None = None
        self.packed: dict[str, Any] | None = None  # the weights as text, until they change

    def ask(self) -> Expr | None:
        with one_thread():
            code = first_fresh(self.memory, self._draw, self.generator)
        return None if code is None else self.memory.ask(code)

    def _draw(self) -> list[Code]:
        codes = self.controller.sample(DRAWN, self.generator)
        room = self.batch - len(self.invalid)
        if room > 0:
            _, sketches = self.memory.fresh(codes[:4])
            bad = [code for code, good in zip(codes, sketches.ordinary(), strict=False) if not good]
            self.invalid += bad[:room]
        return codes

    def tell(self, expr: Expr, score: float, loss: float) -> None:
        number = self.memory.tell(expr, score, loss)
        if number is not None and number not in self.waiting:
            self.waiting.append(number)
        if len(self.waiting) >= self.batch:
            with one_thread():
                self._update()

    def _update(self) -> None:
        """One PPO update from the answers that wait, and the worthless codes drawn meanwhile."""
        codes, rewards = self._batch()
        mean = float(rewards.mean())
        self.baseline = mean if self.baseline is None else self.baseline
        advantage = (rewards - self.baseline).unsqueeze(1)
        advantage = advantage / (advantage.std() + 1e-3)
        self.baseline = self.decay * self.baseline + (1 - self.decay) * mean
        best = [self.memory.codes[number] for number in self.memory.best(self.imitated)]
        count = len(codes)
        with torch.no_grad():
            before, _, _ = self.controller.judge(codes)
        for _ in range(self.epochs):
            logs, entropies, mask = self.controller.judge(codes + best)
            ratio = (logs[:count, : before.shape[1]] - before).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)  # (7)
            within = mask[:count, : before.shape[1]]
            target = ((gain + self.entropy * entropies[:count, : before.shape[1]]) * within).sum() / count
            if best:
                target = target + self.imitation * (logs[count:] * mask[count:]).sum() / len(best)
            self.optimizer.zero_grad()
            (-target).backward()
            torch.nn.utils.clip_grad_norm_(self.controller.parameters(), 1.0)
            self.optimizer.step()
        self.waiting, self.invalid, self.packed = [], [], None

    def _batch(self) -> tuple[list[Code], torch.Tensor]:
        """Codes and rewards (codes,) of an update."""
        told = self.memory.told()
        merits = dict(zip(told, merit([self.memory.results[number] for number in told]), strict=True))
        rows = [(self.memory.codes[number], float(merits[number]) ** SHARPNESS) for number in self.waiting]
        rows += [(code, 0.0) for code in self.invalid]
        return [code for code, _ in rows], torch.tensor([reward for _, reward in rows])

    def state_dict(self) -> dict[str, Any]:
        if self.packed is None:
            self.packed = {
                "weights": pack(list(self.controller.parameters())),
                "moments": [pack(self._moments(name)) for name in ("exp_avg", "exp_avg_sq")],
                "steps": self._steps(),
            }
        return {
            "memory": self.memory.state(), "waiting": list(self.waiting), "invalid": [list(c) for c in self.invalid],
            "baseline": self.baseline, "generator": self.generator.bit_generator.state, **self.packed,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.memory.load(state["memory"])
        self.waiting, self.baseline = list(state["waiting"]), state["baseline"]
        self.invalid = [tuple(code) for code in state["invalid"]]
        self.generator.bit_generator.state = state["generator"]
        unpack_into(list(self.controller.parameters()), state["weights"])
        for name, texts in zip(("exp_avg", "exp_avg_sq"), state["moments"], strict=True):
            unpack_into(self._moments(name), texts)
        for weight, steps in zip(self.controller.parameters(), state["steps"], strict=True):
            self.optimizer.state[weight]["step"] = torch.tensor(float(steps))
        self.packed = None

    def _moments(self, name: str) -> list[torch.Tensor]:
        """Adam's running moments, one for each weight; zeros before the first step."""
        for weight in self.controller.parameters():
            state = self.optimizer.state[weight]
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        return [self.optimizer.state[weight][name] for weight in self.controller.parameters()]

    def _steps(self) -> list[float]:
        return [float(self.optimizer.state[weight]["step"]) for weight in self.controller.parameters()]
