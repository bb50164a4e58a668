"""A recurrent policy over codes: one place after another, each choice fed back as the next input.

    embedding of the last choice ─► GRU ─► one linear layer for the kind of the place ─► probabilities

Written in NumPy with its own derivatives: arrays are so small that an automatic differentiation would spend nearly all
its time between the operations. `tests/strategies/test_controller.py` compares it with torch.

References: [Ramachandran2017] arXiv:1710.05941, section 2 and figure 2; [Bello2017] I. Bello et al., Neural optimizer
search with reinforcement learning, 2017, arXiv:1709.07417, section 3; [Cho2014] K. Cho et al., 2014, arXiv:1406.1078,
for the GRU, in the form of torch.nn.GRUCell; [Kingma2015] D. Kingma & J. Ba, Adam, 2015, arXiv:1412.6980, algorithm 1.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonlin.strategies.spaces import Code, Slot, Space


@dataclass(frozen=True)
class Place:
    """One place of some codes, as the controller went through it; arrays have one row for each code.

    Attributes
    ----------
    key : whose output layer and embeddings
    given, before : input and state of the recurrent layer
    reset, update, new, inner : its gates; `inner` is what `reset` multiplies
    after : its next state
    odds, logs : probabilities of the choices, and their logarithms
    chosen : what was chosen
    """

    key: str
    given: np.ndarray
    before: np.ndarray
    reset: np.ndarray
    update: np.ndarray
    new: np.ndarray
    inner: np.ndarray
    after: np.ndarray
    odds: np.ndarray
    logs: np.ndarray
    chosen: np.ndarray


@dataclass(frozen=True)
class Judged:
    """What a controller thinks of n codes, the longest of m places.

    Attributes
    ----------
    logs, entropies : (n, m), log-probability of every choice, and the entropy of its place; 0 where a code has none
    mask : (n, m), 1 where a code has a place
    groups : rows of codes of one shape, and the places that they went through
    """

    logs: np.ndarray
    entropies: np.ndarray
    mask: np.ndarray
    groups: list[tuple[np.ndarray, list[Place]]]


class Controller:
    """Probabilities of the choices at each place of a code.

    Places of one kind share their output layer and their embeddings; inputs and shapes have their own by count.

    Parameters
    ----------
    hidden : width of the recurrent layer and of the embeddings
    dtype : of the weights
    """

    def __init__(self, space: Space, hidden: int, generator: np.random.Generator, dtype: Any = np.float32):
        self.space, self.hidden = space, hidden
        sizes: dict[str, tuple[int, ...]] = {
            "start": (hidden,),
            "input": (3 * hidden, hidden), "state": (3 * hidden, hidden),  # of the gates reset, update, new
            "input bias": (3 * hidden,), "state bias": (3 * hidden,),
        }  # fmt: skip
        for head in [()] if len(space.shapes) == 1 else [(number,) for number in range(len(space.shapes))]:
            for slot in space.slots(head):
                key, width = _key(slot), slot.count
                sizes |= {f"embed {key}": (width, hidden), f"output {key}": (width, hidden), f"bias {key}": (width,)}
        self.sizes = sizes
        count = sum(int(np.prod(size)) for size in sizes.values())
        self.weights = generator.uniform(-0.1, 0.1, size=count).astype(dtype)  # as in Bello et al. 2017
        self.parts = self.split(self.weights)

    def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Views of a vector as long as `weights`: one array for each of `sizes`."""
        parts, at = {}, 0
        for name, size in self.sizes.items():
            count = int(np.prod(size))
            parts[name] = flat[at : at + count].reshape(size)
            at += count
        return parts

    def sample(self, count: int, generator: np.random.Generator) -> list[Code]:
        """`count` codes drawn from the policy; in a space of several shapes each is drawn by itself."""
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
        luck = generator.random((count, len(slots)))
        state, given = self._begin(count)
        for number, slot in enumerate(slots):
            place = self._place(_key(slot), given, state)
            if head and number < len(head):
                chosen[:, number] = head[number]
            else:
                totals = place.odds.cumsum(axis=1, dtype=np.float64)
                drawn = (totals < luck[:, number, None] * totals[:, -1:]).sum(axis=1)
                chosen[:, number] = np.minimum(drawn, slot.count - 1)
            state, given = place.after, self.parts[f"embed {place.key}"][chosen[:, number]]
        return [tuple(row) for row in chosen.tolist()]

    def judge(self, codes: Sequence[Code]) -> Judged:
        """Log-probability and entropy of every choice of `codes`; codes of different shapes are judged apart."""
        size = (len(codes), max(map(len, codes)))
        logs, entropies, mask = (np.zeros(size, self.weights.dtype) for _ in range(3))
        groups = []
        for head, rows in self._by_shape(codes).items():
            choices = np.array([codes[row] for row in rows])
            state, given = self._begin(len(rows))
            places = []
            for number, slot in enumerate(self.space.slots(head)):
                place = self._place(_key(slot), given, state, choices[:, number])
                logs[rows, number] = place.logs[np.arange(len(rows)), place.chosen]
                entropies[rows, number] = -(place.odds * place.logs).sum(axis=1)
                mask[rows, number] = 1
                state, given = place.after, self.parts[f"embed {place.key}"][place.chosen]
                places.append(place)
            groups.append((rows, places))
        return Judged(logs, entropies, mask, groups)

    def _by_shape(self, codes: Sequence[Code]) -> dict[Code, np.ndarray]:
        if len(self.space.shapes) == 1:
            return {(): np.arange(len(codes))}
        groups: dict[Code, list[int]] = {}
        for row, code in enumerate(codes):
            groups.setdefault(code[:1], []).append(row)
        return {head: np.array(rows) for head, rows in groups.items()}

    def _begin(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """State and input at the first place, each (count, hidden)."""
        size = (count, self.hidden)
        return np.zeros(size, self.weights.dtype), np.broadcast_to(self.parts["start"], size)

    def _place(self, key: str, given: np.ndarray, before: np.ndarray, chosen: np.ndarray | None = None) -> Place:
        parts, n = self.parts, self.hidden
        left = given @ parts["input"].T + parts["input bias"]
        right = before @ parts["state"].T + parts["state bias"]
        gates = 1 / (1 + np.exp(-(left[:, : 2 * n] + right[:, : 2 * n])))
        reset, update, inner = gates[:, :n], gates[:, n:], right[:, 2 * n :]
        new = np.tanh(left[:, 2 * n :] + reset * inner)
        after = new + update * (before - new)
        raw = after @ parts[f"output {key}"].T + parts[f"bias {key}"]
        raw -= raw.max(axis=1, keepdims=True)
        logs = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
        none = np.zeros(0, int) if chosen is None else chosen
        return Place(key, given, before, reset, update, new, inner, after, np.exp(logs), logs, none)

    # Derivatives

    def slope(self, judged: Judged, by_log: np.ndarray, by_entropy: np.ndarray) -> np.ndarray:
        """The derivative by `weights` of a number whose derivatives by `judged`'s logs and entropies are given."""
        flat = np.zeros_like(self.weights)
        slopes = self.split(flat)
        by_log, by_entropy = by_log.astype(flat.dtype), by_entropy.astype(flat.dtype)
        for rows, places in judged.groups:
            state = given = np.zeros((len(rows), self.hidden), flat.dtype)  # by the state and the input that follow
            for number in reversed(range(len(places))):
                place = places[number]
                onehot = np.zeros_like(place.odds)
                onehot[np.arange(len(rows)), place.chosen] = 1
                slopes[f"embed {place.key}"] += onehot.T @ given
                entropy = -(place.odds * place.logs).sum(axis=1, keepdims=True)
                raw = by_log[rows, number, None] * (onehot - place.odds)
                raw -= by_entropy[rows, number, None] * place.odds * (place.logs + entropy)
                slopes[f"output {place.key}"] += raw.T @ place.after
                slopes[f"bias {place.key}"] += raw.sum(axis=0)
                state, given = self._through(place, state + raw @ self.parts[f"output {place.key}"], slopes)
            slopes["start"] += given.sum(axis=0)
        return flat

    def _through(self, place: Place, after: np.ndarray, slopes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives by the state before and by the input, from that by the state after; adds those by the weights."""
        new = after * (1 - place.update) * (1 - place.new**2)
        update = after * (place.before - place.new) * place.update * (1 - place.update)
        reset = new * place.inner * place.reset * (1 - place.reset)
        left = np.concatenate([reset, update, new], axis=1)
        right = np.concatenate([reset, update, new * place.reset], axis=1)
        slopes["input"] += left.T @ place.given
        slopes["state"] += right.T @ place.before
        slopes["input bias"] += left.sum(axis=0)
        slopes["state bias"] += right.sum(axis=0)
        return after * place.update + right @ self.parts["state"], left @ self.parts["input"]


class Adam:
    """Adam that climbs, on one vector of weights; slopes longer than 1 are shortened to 1."""

    def __init__(self, weights: np.ndarray, rate: float):
        self.weights, self.rate, self.steps = weights, rate, 0
        self.mean, self.square = np.zeros_like(weights), np.zeros_like(weights)

    def climb(self, slope: np.ndarray) -> None:
        """One step, in place."""
        slope = slope / max(1.0, float(np.sqrt(slope @ slope)))
        self.steps += 1
        self.mean += 0.1 * (slope - self.mean)
        self.square += 0.001 * (slope**2 - self.square)
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.999**self.steps)
        self.weights += self.rate * mean / (np.sqrt(square) + 1e-8)


def _key(slot: Slot) -> str:
    return f"input{slot.count}" if slot.kind == "input" else slot.kind


# Vectors as JSON


def pack(vector: np.ndarray) -> str:
    """A float32 vector as text, bit for bit."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def unpack_into(vector: np.ndarray, text: str) -> None:
    """Write what `pack` made into a vector of the same length."""
    vector[:] = np.frombuffer(base64.b64decode(text), dtype="<f4")
