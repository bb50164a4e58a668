"""Advantages and drawbacks of an activation in words, each following from a number of its card.

Nothing here knows a function by name: the rules are thresholds, and the sentences carry the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nonlin.diagnosis.card import HealthCard
    from nonlin.diagnosis.precision import HalfPrecision
    from nonlin.diagnosis.shape import Interval

NOTABLE_SHARE = 0.01  # of N(0, 1): what happens on less is not worth a sentence
STEEP, CURVED = 3.0, 100.0
OFF_CENTRE, CENTRED = 0.3, 0.05  # |mean| in standard deviations
IMPRECISE = 1.0  # units of the last place
FAST_CHANGE = 20.0  # layers: a shorter depth scale is a drawback
COSTLY, CHEAP = 4.0, 1.5  # times ReLU


def verdict(card: HealthCard) -> tuple[list[str], list[str]]:
    """Advantages and drawbacks."""
    good: list[str] = []
    bad: list[str] = []
    for rule in (_definition, _slope, _shape, _range, _parts, _signals, _precision, _cost):
        for favourable, sentence in rule(card):
            (good if favourable else bad).append(sentence)
    return good, bad


Findings = Iterator[tuple[bool, str]]


def _definition(card: HealthCard) -> Findings:
    if card.undefined_share > 0:
        where = intervals(card.undefined)
        yield False, f"Has no value for {where}: {percent(card.undefined_share)} of N(0,1)."
    elif card.second_moment is None:
        yield False, "E[f²] under N(0,1) does not exist: no gain keeps its signals."
    poles = [b.x for b in card.breaks if b.order == 0 and math.isinf(b.size)]
    if poles:
        yield False, f"Infinite at {places(poles)}."


def _slope(card: HealthCard) -> Findings:
    steepest, at = card.lipschitz, card.lipschitz_at
    if card.monotone == "constant":
        yield False, f"Is constant: f = {number(card.mean)}, nothing passes through."
        return
    if card.max_curvature is not None and card.max_curvature < 1e-12:
        yield False, f"Is affine with slope {number(steepest)}: a network of it is one linear map."
    jumps = [b for b in card.breaks if b.order == 0 and math.isfinite(b.size)]
    if jumps:
        first = min(jumps, key=lambda b: abs(b.x))
        more = " (and countless others)" if card.countless_breaks else f" ({len(jumps)} jumps)" if jumps[1:] else ""
        yield False, f"Jumps by {number(first.size)} at x = {number(first.x)}{more}: its gradient does not see that."
    elif steepest is None and at is not None:
        yield False, f"|f'| is infinite at x = {number(at)}."
    if steepest is None and at is None:
        yield False, "|f'| grows without bound: no Lipschitz bound, large inputs give exploding gradients."
    elif steepest is not None and steepest <= 1 + 1e-12 and not jumps:
        yield True, f"Never enlarges a gradient: sup|f'| = {number(steepest)}{_reached(at)}."
    elif steepest is not None and steepest > STEEP:
        yield False, f"Steep: sup|f'| = {number(steepest)}{_reached(at)}."


def _shape(card: HealthCard) -> Findings:
    curvature = card.max_curvature or 0.0
    if card.smoothness == "smooth" and card.undefined_share == 0 and curvature > 1e-12:
        if curvature > CURVED:
            yield False, f"Smooth, but sharply bent: sup|f''| = {number(curvature)}."
        else:
            yield True, f"Smooth: no derivative breaks, sup|f''| = {number(curvature)}."
    kinks = sorted((b for b in card.breaks if b.order == 1 and math.isfinite(b.size)), key=lambda b: abs(b.x))
    if kinks:
        largest = max(kinks, key=lambda b: abs(b.size))
        count = f"Has {len(kinks)} kinks; at the largest," if kinks[1:] else "Has a kink:"
        where = f"f' jumps by {number(largest.size)} at x = {number(largest.x)}"
        yield False, f"{count} {where}, so f'' does not exist there."
    if card.monotone in ("increasing", "decreasing"):
        yield True, f"Monotone ({card.monotone}): the sign of its gradient is known."
    elif card.countless_turns:
        yield False, "Turns endlessly often: far inputs cannot be told apart, and its loss has many minima."
    elif card.turns:
        yield False, f"Not monotone: f' changes sign at x = {places(list(card.turns))}."


def _range(card: HealthCard) -> Findings:
    if card.monotone == "constant":
        return
    if card.bounded_below and card.bounded_above:
        yield True, f"Bounded: outputs stay in [{number(card.lower)}, {number(card.upper)}]."
    elif card.bounded_below:
        yield True, f"Bounded below by {number(card.lower)}{_reached(card.lower_at)}."
    elif card.bounded_above:
        yield True, f"Bounded above by {number(card.upper)}{_reached(card.upper_at)}."
    if card.mean is not None and card.std:
        shift = card.mean / card.std
        if abs(shift) <= CENTRED:
            yield True, f"Centred: mean {number(card.mean)} under N(0,1)."
        elif abs(shift) >= OFF_CENTRE:
            yield False, f"Not centred: mean {number(card.mean)}, {number(abs(shift))} standard deviations from 0."


def _parts(card: HealthCard) -> Findings:
    if card.monotone == "constant":
        return
    if card.dead_share >= NOTABLE_SHARE:
        where = f" for {intervals(card.dead)}" if card.dead else ""
        yield False, f"Dead{where}: |f'| < 0.001 on {percent(card.dead_share)} of N(0,1)."
    else:
        yield True, f"Not dead: |f'| < 0.001 on only {percent(card.dead_share)} of N(0,1)."
    rest = (card.saturated_share or 0.0) - card.dead_share
    if rest >= 0.05:
        yield (
            False,
            (
                f"Saturates: |f'| is under a tenth of its root mean square on {percent(card.saturated_share or 0.0)} "
                "of N(0,1)."
            ),
        )
    if card.zero_share >= NOTABLE_SHARE:
        yield True, f"Sparse: the output is exactly 0 on {percent(card.zero_share)} of N(0,1)."


def _signals(card: HealthCard) -> Findings:
    if card.monotone == "constant":
        return
    if card.normalisation and card.normalisation.self_normalising:
        n = card.normalisation
        yield (
            True,
            (
                f"Self-normalising: mean {number(n.mean)} and variance {number(n.variance)} are kept, "
                f"deviations are multiplied by {number(n.radius)} in each layer."
            ),
        )
    if card.edge.sigma_w is None:
        yield False, f"Has no edge of chaos at q = {number(card.edge.q)}: {card.edge.reason}."
    else:
        yield (
            True,
            (
                f"Has an edge of chaos at q = {number(card.edge.q)}: sigma_w = {number(card.edge.sigma_w)}, "
                f"sigma_b = {number(card.edge.sigma_b)}."
            ),
        )
    start = f"Initialised with sigma_w = {number(card.sigma_w)}, sigma_b = {number(card.sigma_b)},"
    positive = [point for point in card.fixed_points if point.q > 0 and point.slope is not None]
    if card.every_variance_fixed:
        yield True, f"{start} it keeps every variance as it is."
    elif positive:
        point = min(positive, key=lambda p: abs(math.log(p.q / card.q)))
        slight = point.stable is None or abs((point.slope or 0.0) - 1) < 1e-3
        verb = "hardly change" if slight else "shrink" if point.stable else "grow"
        yield (
            slight or bool(point.stable),
            (f"{start} deviations from variance {number(point.q)} {verb}: times {number(point.slope)} in each layer."),
        )
    if card.chi is not None and card.phase != "critical":
        what = "grow" if card.phase == "chaotic" else "fade"
        scale = card.depth_scale
        if scale is not None and scale < FAST_CHANGE:
            yield (
                False,
                (
                    f"{start} squared gradients {what}: chi = {number(card.chi)} in each layer, e-fold in "
                    f"{number(scale)} layers."
                ),
            )
    elif card.phase == "critical":
        yield True, f"{start} it is critical: chi = 1, gradients neither grow nor fade."


def _precision(card: HealthCard) -> Findings:
    for half in (card.float16, card.bfloat16):
        found = list(_faults(half))
        yield from ((False, sentence) for sentence in found)
        if not found and half.largest_error is not None:
            yield (
                True,
                f"Safe in {half.format}: no overflow up to |x| = 1e4, error at most {number(half.largest_error)} ulp.",
            )


def _faults(half: HalfPrecision) -> Iterator[str]:
    if half.value_overflows is not None:
        yield f"Overflows in {half.format}, first at |x| = {half.value_overflows:.4g}."
    if half.slope_overflows is not None:
        yield f"Its gradient overflows in {half.format}, first at |x| = {half.slope_overflows:.4g}."
    if half.not_a_number is not None:
        yield f"Gives NaN in {half.format}, first at |x| = {half.not_a_number:.4g}."
    if half.largest_error is not None and half.largest_error > IMPRECISE:
        yield f"Loses precision in {half.format}: {number(half.largest_error)} ulp at x = {half.error_at:.4g}."


def _cost(card: HealthCard) -> Findings:
    if card.transcendentals == 0:
        yield True, "Takes no transcendental function: 0 calls for a value."
    if card.cost is not None and (card.cost >= COSTLY or card.cost <= CHEAP):
        yield (
            card.cost <= CHEAP,
            f"Its module takes {card.cost:.2g} times as long as nn.ReLU, forward and backward, uncompiled.",
        )


# Numbers in words


def number(value: float | None) -> str:
    """Four digits: 0.3885, -1.758, 1.2e+06; "none" for None."""
    if value is None:
        return "none"
    return f"{0.0 if abs(value) < 5e-13 else value:.4g}"


def percent(share: float) -> str:
    """31%, 0.16%, 0%; what lies below a hundred-thousandth is said so."""
    if share <= 0:
        return "0%"
    return f"{100 * share:.3g}%" if share >= 1e-5 else "< 0.001%"


def places(xs: list[float]) -> str:
    """The first four places in words."""
    shown = ", ".join(number(x) for x in sorted(sorted(xs, key=abs)[:4]))
    return f"{shown} and {len(xs) - 4} more" if len(xs) > 4 else shown


def intervals(parts: tuple[Interval, ...]) -> str:
    """x < -3.2 and 1 < x < 2."""
    shown = [_interval(*part) for part in parts[:3]]
    return " and ".join(shown) + (f" and {len(parts) - 3} more intervals" if len(parts) > 3 else "")


def _interval(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "every x"
    if math.isinf(low):
        return f"x < {number(high)}"
    return f"x > {number(low)}" if math.isinf(high) else f"{number(low)} < x < {number(high)}"


def _reached(at: float | None) -> str:
    return ", only approached" if at is None else f", at x = {number(at)}"
