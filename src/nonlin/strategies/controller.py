"""A recurrent policy over codes: one place after another, each choice fed back as the next input.

    embedding of the last choice ─► GRU ─► one linear layer for the kind of the place ─► probabilities

References: [Ramachandran2017] arXiv:1710.05941, section 2 and figure 2; [Bello2017] I. Bello et al., Neural optimizer
search with reinforcement learning, 2017, arXiv:1709.07417, section 3.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nonlin.strategies.spaces import Code, Space


class Controller(nn.Module):
    """Probabilities of the choices at each place of a code.

    Places of one kind share their output layer and their embeddings; inputs and shapes have their own by count.
    """

    def __init__(self, space: Space, hidden: int, generator: np.random.Generator):
        super().__init__()
        self.space, self.hidden = space, hidden
        self.widths: dict[str, int] = {}
        heads = [()] if len(space.shapes) == 1 else [(number,) for number in range(len(space.shapes))]
        for head in heads:
            for slot in space.slots(head):
                self.widths[_key(slot)] = slot.count
        self.cell = nn.GRUCell(hidden, hidden)
        self.start = nn.Parameter(torch.zeros(hidden))
        self.embed = nn.ModuleDict({key: nn.Embedding(width, hidden) for key, width in self.widths.items()})
        self.output = nn.ModuleDict({key: nn.Linear(hidden, width) for key, width in self.widths.items()})
        with torch.no_grad():
            for weight in self.parameters():  # uniform, as in Bello et al. 2017; of the generator, not of torch's
                drawn = generator.uniform(-0.1, 0.1, size=tuple(weight.shape))
                weight.copy_(torch.from_numpy(np.asarray(drawn)))

    def sample(self, count: int, generator: np.random.Generator) -> list[Code]:
        """`count` codes drawn from the policy; in a space of several shapes each is drawn by itself."""
        with torch.no_grad():
            if len(self.space.shapes) == 1:
                return self._sample_alike(count, generator, ())
            first = self._sample_alike(count, generator, None)
            codes: list[Code] = []
            for head in sorted(set(first)):
                codes += self._sample_alike(first.count(head), generator, head)
            return [codes[k] for k in generator.permutation(len(codes))]

    def _sample_alike(self, count: int, generator: np.random.Generator, head: Code | None) -> list[Code]:
        """Codes of one shape, which begin with `head`; only their first choice for None."""
        slots = self.space.slots(head or ())
        chosen = np.zeros((count, len(slots)), int)
        state, given = torch.zeros(count, self.hidden), self.start.expand(count, -1)
        for place, slot in enumerate(slots):
            state = self.cell(given, state)
            if head and place < len(head):
                chosen[:, place] = head[place]
            else:
                odds = functional.softmax(self.output[_key(slot)](state).double(), dim=1).numpy()
                drawn = generator.random((count, 1)) * odds.sum(axis=1, keepdims=True)
                chosen[:, place] = np.minimum((odds.cumsum(axis=1) < drawn).sum(axis=1), slot.count - 1)
            given = self.embed[_key(slot)](torch.from_numpy(chosen[:, place]))
        return [tuple(map(int, row)) for row in chosen]

    def judge(self, codes: Sequence[Code]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability and entropy of every choice, and which places there are, each (codes, most places).

        Codes of different shapes are judged apart; places that a code does not have are 0.
        """
        longest = max(map(len, codes))
        shape = (len(codes), longest)
        logs, entropies, mask = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
        groups: dict[Code, list[int]] = {}
        for row, code in enumerate(codes):
            groups.setdefault(() if len(self.space.shapes) == 1 else code[:1], []).append(row)
        for head, rows in groups.items():
            choices = torch.tensor([codes[row] for row in rows])
            state, given = torch.zeros(len(rows), self.hidden), self.start.expand(len(rows), -1)
            index = torch.tensor(rows)
            for place, slot in enumerate(self.space.slots(head)):
                state = self.cell(given, state)
                spread = functional.log_softmax(self.output[_key(slot)](state), dim=1)
                at = (index, torch.full_like(index, place))
                logs = logs.index_put(at, spread.gather(1, choices[:, place : place + 1]).squeeze(1))
                entropies = entropies.index_put(at, -(spread.exp() * spread).sum(dim=1))
                mask = mask.index_put(at, torch.ones(len(rows)))
                given = self.embed[_key(slot)](choices[:, place])
        return logs, entropies, mask


def _key(slot) -> str:
    return f"input{slot.count}" if slot.kind == "input" else slot.kind


# Tensors as JSON


def pack(tensors: Sequence[Tensor]) -> list[str]:
    """float32 tensors as text, bit for bit."""
    return [base64.b64encode(tensor.detach().numpy().astype("<f4").tobytes()).decode() for tensor in tensors]


def unpack_into(tensors: Sequence[Tensor], texts: Sequence[Any]) -> None:
    """Write what `pack` made into tensors of the same shapes."""
    with torch.no_grad():
        for tensor, text in zip(tensors, texts, strict=True):
            values = np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(values.copy()))
