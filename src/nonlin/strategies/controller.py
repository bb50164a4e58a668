"""A recurrent policy over codes: one place after another, each choice fed back as the next input.

    embedding of the last choice ─► GRU ─► one linear layer ─► probabilities of the choices that the place has

Written in NumPy with its own derivatives: arrays are so small that an automatic differentiation would spend nearly all
its time between the operations. Only what must go place by place does; the rest is done for all places at once, so the
choices of all kinds are numbered through (*tokens*), and those that a place does not have are barred from it.
`tests/strategies/test_controller.py` compares it with torch.

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

from nonlin.strategies.likeness import sharing
from nonlin.strategies.spaces import Code, Slot, Space

BARRED = -1e9  # added to what a barred choice would be given: its probability is 0


@dataclass(frozen=True)
class Layout:
    """n codes, the longest of m places, as a controller goes through them.

    Attributes
    ----------
    onehot : (m, n, tokens), 1 for the choice at each place; 0 throughout where a code has no such place
    given : (m, n), the token before each place; the one after the last token stands for the start
    kinds : (m, n), of each place
    mask : (n, m), 1 where a code has a place
    """

    onehot: np.ndarray
    given: np.ndarray
    kinds: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Judged:
    """What a controller thinks of the codes of a layout.

    Attributes
    ----------
    logs, entropies : (n, m), log-probability of every choice, and the entropy of its place; 0 where a code has none
    odds, raw_logs : (m, n, tokens), probabilities and their logarithms
    states : (m + 1, n, hidden), of the recurrent layer before each place, and at the end
    reset, update, new, inner : (m, n, hidden), its gates; `inner` is what `reset` multiplies
    embed, output : embeddings and output layer as they were
    """

    layout: Layout
    logs: np.ndarray
    entropies: np.ndarray
    odds: np.ndarray
    raw_logs: np.ndarray
    states: np.ndarray
    reset: np.ndarray
    update: np.ndarray
    new: np.ndarray
    inner: np.ndarray
    embed: np.ndarray
    output: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        return self.layout.mask


class Controller:
    """Probabilities of the choices at each place of a code.

    Places of one kind share their output layer and their embeddings; inputs and shapes have their own by count.

    Parameters
    ----------
    hidden : width of the recurrent layer and of the embeddings
    dtype : of the weights
    share : how much of what is learned of a choice is learned of those like it (`nonlin.strategies.likeness`): output
        layer and embeddings are their weights times a matrix

    Attributes
    ----------
    first : kind -> its first token; those of a kind follow one another
    starts, widths : of each kind, its first token and how many it has
    lengths : of codes of each shape
    kinds : (shapes, places), of each place of each shape
    barred : (kinds, tokens), 0 for the tokens of a kind, `BARRED` for others
    """

    def __init__(
        self,
        space: Space,
        hidden: int,
        generator: np.random.Generator,
        dtype: Any = np.float32,
        share: float = 0.0,
    ):
        self.space, self.hidden = space, hidden
        heads: list[Code] = [()] if len(space.shapes) == 1 else [(number,) for number in range(len(space.shapes))]
        slots = [space.slots(head) for head in heads]
        widths = {_key(slot): slot.count for row in slots for slot in row}
        self.tokens = sum(widths.values())
        starts = np.cumsum([0, *widths.values()])[:-1].tolist()
        self.first = dict(zip(widths, starts, strict=True))
        self.starts, self.widths = np.array(starts), np.array([*widths.values()])
        number = {key: k for k, key in enumerate(widths)}
        self.lengths = np.array([len(row) for row in slots])
        self.kinds = np.zeros((len(heads), self.lengths.max()), int)
        for row, kinds in zip(slots, self.kinds, strict=True):
            kinds[: len(row)] = [number[_key(slot)] for slot in row]
        token = np.arange(self.tokens)
        inside = (token >= self.starts[:, None]) & (token < (self.starts + self.widths)[:, None])
        self.barred = np.where(inside, 0, BARRED).astype(dtype)
        self.sizes: dict[str, tuple[int, ...]] = {
            "input": (3 * hidden, hidden), "state": (3 * hidden, hidden),  # of the gates reset, update, new
            "input bias": (3 * hidden,), "state bias": (3 * hidden,),
            "embed": (self.tokens + 1, hidden),  # the last one is the input at the first place
            "output": (self.tokens, hidden), "bias": (self.tokens,),
        }  # fmt: skip
        count = sum(int(np.prod(size)) for size in self.sizes.values())
        self.weights = generator.uniform(-0.1, 0.1, size=count).astype(dtype)  # as in Bello et al. 2017
        self.parts = self.split(self.weights)
        self._slope = np.zeros_like(self.weights)
        self._slopes = self.split(self._slope)
        self.likeness = self._likeness(share).astype(dtype) if share else None

    def _likeness(self, share: float) -> np.ndarray:
        """(tokens, tokens), block by block of each kind; inputs and shapes are like themselves alone."""
        found = np.eye(self.tokens)
        for kind, start in self.first.items():
            components = self.space.shapes[0].functions.get(kind)
            if components:
                mine = slice(start, start + len(components))
                found[mine, mine] = sharing(components, share)
        return found

    def shared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Embeddings, output layer and its bias, after `likeness`."""
        embed, output, bias = (self.parts[name] for name in ("embed", "output", "bias"))
        if self.likeness is None:
            return embed, output, bias
        return np.concatenate([self.likeness @ embed[:-1], embed[-1:]]), self.likeness @ output, self.likeness @ bias

    def split(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Views of a vector as long as `weights`: one array for each of `sizes`."""
        parts, at = {}, 0
        for name, size in self.sizes.items():
            count = int(np.prod(size))
            parts[name] = flat[at : at + count].reshape(size)
            at += count
        return parts

    def span(self, kind: int) -> slice:
        """The tokens of a kind."""
        return slice(int(self.starts[kind]), int(self.starts[kind] + self.widths[kind]))

    def layout(self, codes: Sequence[Code]) -> Layout:
        """What `judge` reads; the same codes may be judged again and again."""
        lengths = np.array([len(code) for code in codes])
        n, m = len(codes), int(lengths.max())
        choices = np.array([(*code, *(0,) * (m - len(code))) for code in codes]).T  # (m, n)
        shapes = choices[0] if len(self.lengths) > 1 else np.zeros(n, int)
        kinds = self.kinds[shapes, :m].T
        tokens = choices + self.starts[kinds]
        mask = np.arange(m)[:, None] < lengths
        onehot = np.zeros((m, n, self.tokens), self.weights.dtype)
        onehot[np.arange(m)[:, None], np.arange(n), tokens] = mask
        given = np.concatenate([np.full((1, n), self.tokens), tokens[:-1]])
        return Layout(onehot, given, kinds, mask.T.astype(self.weights.dtype))

    def judge(self, layout: Layout) -> Judged:
        """Log-probability and entropy of every choice."""
        (m, n, _), dtype = layout.onehot.shape, self.weights.dtype
        states = np.zeros((m + 1, n, self.hidden), dtype)
        reset, update, new, inner = np.empty((4, m, n, self.hidden), dtype)
        embed, output, bias = self.shared()
        given = self.inputs(embed)[layout.given]
        for k in range(m):
            states[k + 1], reset[k], update[k], new[k], inner[k] = self.step(given[k], states[k])
        raw = states[1:] @ output.T
        raw += bias
        raw += self.barred[layout.kinds]
        raw -= raw.max(axis=2, keepdims=True)
        odds = np.exp(raw)
        totals = odds.sum(axis=2, keepdims=True)
        odds /= totals
        raw -= np.log(totals)
        logs = (raw * layout.onehot).sum(axis=2).T
        entropies = -(odds * raw).sum(axis=2).T * layout.mask
        return Judged(layout, logs, entropies, odds, raw, states, reset, update, new, inner, embed, output)

    def inputs(self, embed: np.ndarray) -> np.ndarray:
        """What each token puts into the gates when it is fed back, (tokens + 1, 3·hidden)."""
        return embed @ self.parts["input"].T + self.parts["input bias"]

    def step(self, left: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, ...]:
        """The state after a place, and the gates reset, update, new and inner, each (n, hidden)."""
        n = self.hidden
        right = before @ self.parts["state"].T + self.parts["state bias"]
        gates = 1 / (1 + np.exp(-(left[:, : 2 * n] + right[:, : 2 * n])))
        reset, update, inner = gates[:, :n], gates[:, n:], right[:, 2 * n :]
        new = np.tanh(left[:, 2 * n :] + reset * inner)
        return new + update * (before - new), reset, update, new, inner

    # Derivatives

    def slope(self, judged: Judged, by_log: np.ndarray, by_entropy: np.ndarray) -> np.ndarray:
        """The derivative by `weights` of a number whose derivatives by `judged`'s logs and entropies are given.

        The array is written over by the next call.
        """
        layout, n, slopes = judged.layout, self.hidden, self._slopes
        dtype, (m, rows, _) = self.weights.dtype, layout.onehot.shape
        by_log = (by_log * layout.mask).T[..., None].astype(dtype)
        by_entropy = (by_entropy * layout.mask).T[..., None].astype(dtype)
        raw = judged.raw_logs + judged.entropies.T[..., None]
        raw *= -by_entropy
        raw -= by_log
        raw *= judged.odds
        raw += by_log * layout.onehot
        flat = raw.reshape(m * rows, -1)
        np.matmul(flat.T, judged.states[1:].reshape(m * rows, n), out=slopes["output"])
        flat.sum(axis=0, out=slopes["bias"])
        # By the states, from the last place to the first; factors that do not change on the way are computed before.
        by_state = raw @ judged.output
        by_new = (1 - judged.update) * (1 - judged.new**2)
        by_update = (judged.states[:-1] - judged.new) * judged.update * (1 - judged.update)
        by_reset = judged.inner * judged.reset * (1 - judged.reset)
        left, right = np.empty((2, m, rows, 3 * n), dtype)  # by what comes from the input, and from the state
        after = np.zeros((rows, n), dtype)
        for k in reversed(range(m)):
            after = after + by_state[k]
            new = after * by_new[k]
            left[k, :, :n] = new * by_reset[k]
            left[k, :, n : 2 * n] = after * by_update[k]
            left[k, :, 2 * n :] = new
            right[k] = left[k]
            right[k, :, 2 * n :] *= judged.reset[k]
            after = after * judged.update[k] + right[k] @ self.parts["state"]
        flat = right.reshape(m * rows, 3 * n)
        np.matmul(flat.T, judged.states[:-1].reshape(m * rows, n), out=slopes["state"])
        flat.sum(axis=0, out=slopes["state bias"])
        table = np.empty((self.tokens + 1, 3 * n), dtype)  # by what each token puts in
        chosen = layout.onehot[:-1].reshape((m - 1) * rows, self.tokens)
        np.matmul(chosen.T, left[1:].reshape((m - 1) * rows, 3 * n), out=table[:-1])
        left[0].sum(axis=0, out=table[-1])
        np.matmul(table, self.parts["input"], out=slopes["embed"])
        np.matmul(table.T, judged.embed, out=slopes["input"])
        table.sum(axis=0, out=slopes["input bias"])
        if self.likeness is not None:
            for part in (slopes["embed"][:-1], slopes["output"], slopes["bias"]):
                part[...] = self.likeness.T @ part
        return self._slope


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
        size = np.sqrt(self.square / (1 - 0.999**self.steps)) + 1e-8
        self.weights += (self.rate / (1 - 0.9**self.steps)) * self.mean / size


def _key(slot: Slot) -> str:
    return f"input{slot.count}" if slot.kind == "input" else slot.kind


# Vectors as JSON


def pack(vector: np.ndarray) -> str:
    """A float32 vector as text, bit for bit."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def unpack_into(vector: np.ndarray, text: str) -> None:
    """Write what `pack` made into a vector of the same length."""
    vector[:] = np.frombuffer(base64.b64decode(text), dtype="<f4")
