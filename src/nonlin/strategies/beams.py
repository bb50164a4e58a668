"""Codes drawn from a policy without repetition: what is known need not be drawn again and again.

Reference: [Kool2019] W. Kool, H. van Hoof & M. Welling, Stochastic beams and where to find them, 2019,
arXiv:1903.06059, algorithm 1.
"""

from __future__ import annotations

import numpy as np

from nonlin.strategies.controller import BARRED, Controller
from nonlin.strategies.spaces import Code


def distinct(controller: Controller, count: int, generator: np.random.Generator) -> list[Code]:
    """At most `count` codes, all different, in the order of draws from the policy in which repetitions are left out.

    To every code's log-probability Gumbel noise is added, and the largest are taken; place by place, since the largest
    among all codes that begin alike is known before they are.
    """
    several, longest = len(controller.lengths) > 1, controller.kinds.shape[1]
    embed, output, bias = controller.shared()
    table = controller.inputs(embed)
    state = np.zeros((1, controller.hidden), controller.weights.dtype)
    given, shapes, chosen = np.full(1, controller.tokens), np.zeros(1, int), np.zeros((0, 1), int)
    logs, luck = np.zeros(1), np.zeros(1)  # log-probability of each beginning, and the largest of its codes with noise
    for number in range(longest):
        kinds = controller.kinds[shapes, number]
        state = controller.step(table[given], state)[0]
        # where all have the same choices the others need not be barred
        mine = controller.span(int(kinds[0])) if (kinds == kinds[0]).all() else slice(None)
        raw = (state @ output[mine].T + bias[mine] + controller.barred[kinds, mine]).astype(float)
        raw -= raw.max(axis=1, keepdims=True)
        raw -= np.log(np.exp(raw).sum(axis=1, keepdims=True))
        if several and number:
            ended = number >= controller.lengths[shapes]
            raw[ended], raw[ended, 0] = BARRED, 0  # a code that has ended goes on in one way
        raw += logs[:, None]
        noisy = raw - np.log(generator.standard_exponential(raw.shape))
        noisy = bounded(noisy, luck).ravel()
        kept = _largest(noisy, count)
        kept = kept[noisy[kept] > BARRED / 2]
        rows, tokens = np.divmod(kept, raw.shape[1])
        logs, luck, state, kinds = raw.ravel()[kept], noisy[kept], state[rows], kinds[rows]
        tokens -= 0 if mine.start is not None else controller.starts[kinds]
        chosen = np.concatenate([chosen[:, rows], tokens[None]])
        given = np.minimum(tokens + controller.starts[kinds], controller.tokens - 1)
        shapes = tokens if several and not number else shapes[rows]
    codes = map(tuple, chosen.T.tolist())
    if not several:
        return list(codes)
    return [code[:length] for code, length in zip(codes, controller.lengths[shapes].tolist(), strict=True)]


def bounded(noisy: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Rows of numbers with Gumbel noise, given that the largest of each is `largest`: [Kool2019], appendix B.3."""
    away = largest[:, None] - noisy
    with np.errstate(divide="ignore"):
        away += np.log1p(-np.exp(noisy - noisy.max(axis=1, keepdims=True)))
    return largest[:, None] - np.maximum(away, 0) - np.log1p(np.exp(-np.abs(away)))


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest, the largest first."""
    places = np.arange(len(values)) if len(values) <= count else np.argpartition(-values, count - 1)[:count]
    return places[np.argsort(-values[places], kind="stable")]
