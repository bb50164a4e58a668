"""`gpt2-dpo-shp` and `gpt2-dpo-hh`: GPT-2 learns from preferences directly, with one activation or another.

Direct preference optimisation [Rafailov2023], eq. 7, is -log σ(β(Δ_w - Δ_l)), with Δ the log-ratio of an answer's
probability under the model to that under a frozen copy of it as it was at the beginning, w the preferred answer and
l the other. That is the cross-entropy of a choice between two with logits βΔ, since -log softmax(a, b)_1 =
-log σ(a - b). So the model here returns two logits, and everything that trains a classifier trains it: loss and
accuracy are DPO's own, and the margin β(Δ_w - Δ_l) is measured on top.

What the comparison of GELU and CRReLU by Sun et al. (2024) does not publish is chosen here: lengths, steps, and
[Rafailov2023]'s own settings (appendix B: β = 0.1, batches of 64, RMSprop, learning rate 1e-6 after 150 steps of
warm-up). GPT-2 was trained with GELU; another function stands in its place from the first step on, with all weights as
they are, so that it pays for the change. A model that was fine-tuned with the other function may be put into the
folder `gpt2`.

References
----------
[Rafailov2023] R. Rafailov et al., "Direct preference optimization: your language model is secretly a reward
    model", 2023 (arXiv:2305.18290)
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nonlin.tasks.budget import Budget
from nonlin.tasks.data import Part
from nonlin.tasks.language import gpt2
from nonlin.tasks.language.preferences import HH, SHP
from nonlin.tasks.task import ActivationFactory, Task


class Preference(nn.Module):
    """Chooses between two answers by how much likelier each has become.

    Parameters
    ----------
    policy : a transformer with `wte`, its embedding, of which a frozen copy is kept
    beta : how strongly it is held to the copy
    """

    def __init__(self, policy: nn.Module, beta: float = 0.1):
        super().__init__()
        self.policy = policy
        self.reference = copy.deepcopy(policy).requires_grad_(False)
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """x (pairs, 2, positions) in the code of `nonlin.tasks.language.preferences.encode`; logits (pairs, 2) out."""
        codes = x.flatten(0, 1)  # (2·pairs, positions)
        codes = codes[:, : int((codes >= 0).any(0).nonzero().max()) + 1]  # the filling behind the longest answer
        with torch.no_grad():
            before = log_likelihood(self.reference, codes)
        return self.beta * (log_likelihood(self.policy, codes) - before).reshape(len(x), 2)

    def train(self, mode: bool = True) -> Preference:
        super().train(mode)
        self.reference.eval()
        return self


def log_likelihood(model: nn.Module, codes: Tensor) -> Tensor:
    """Sum over an answer's tokens of their log-probabilities, (sequences,).

    The output layer is computed where a token is predicted, and nowhere else: it is most of the memory.
    """
    tokens = torch.where(codes < 0, -1 - codes, codes).long()
    hidden = model(input_ids=tokens).last_hidden_state[:, :-1]  # (sequences, positions - 1, width)
    wanted = codes[:, 1:] >= 0
    logits = F.linear(hidden[wanted], model.wte.weight)  # type: ignore[union-attr, arg-type]
    found = -F.cross_entropy(logits.float(), tokens[:, 1:][wanted], reduction="none")
    rows = wanted.nonzero()[:, 0]
    return torch.zeros(len(codes), device=found.device).index_add(0, rows, found)


@dataclass(frozen=True)
class PreferenceModel:
    """Builds the model; `beta` as for `Preference`."""

    beta: float = 0.1

    def __call__(self, activation: ActivationFactory) -> Preference:
        return Preference(gpt2.pretrained(activation), self.beta)


def margins(model: nn.Module, part: Part) -> dict[str, float]:
    """The rewards βΔ of preferred and other answers and their difference, means over a part: DPO's usual figures."""
    x, y = part
    device = next(model.parameters()).device
    model.eval()
    rewards = torch.cat([model(pairs.to(device)).cpu() for pairs in x.split(_PAIRS)])  # (pairs, 2)
    rows = torch.arange(len(y))
    preferred, other = rewards[rows, y].mean(), rewards[rows, 1 - y].mean()
    return {"margin": float(preferred - other), "reward": float(preferred), "other_reward": float(other)}


_PAIRS = 16  # pairs at a time in evaluation
_BUDGET = Budget(
    epochs=1, batch_size=64, optimizer="rmsprop", learning_rate=1e-6, warmup=150, accumulate=4,
    precision="bfloat16", evaluation_batch=_PAIRS,
)  # fmt: skip


def dpo_task(name: str, beta: float = 0.1) -> Task:
    """`gpt2-dpo-shp` or `gpt2-dpo-hh` with another β; its name tells, unless it is 0.1."""
    files = {"gpt2-dpo-shp": SHP, "gpt2-dpo-hh": HH}[name]
    return Task(
        name=name if beta == 0.1 else f"{name}:beta={beta:g}",
        build=PreferenceModel(beta),
        data=files,
        budget=_BUDGET,
        designed_for="gelu_tanh",
        remark=f"GPT-2 by direct preference optimisation (beta {beta:g}) on {files.title}",
        measure=margins,
        parameters=gpt2.PARAMETERS,
    )


GPT2_DPO_SHP, GPT2_DPO_HH = dpo_task("gpt2-dpo-shp"), dpo_task("gpt2-dpo-hh")
