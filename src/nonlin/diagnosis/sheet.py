"""The health card as labelled lines, for the terminal and for tables of several activations."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from nonlin.diagnosis.verdict import intervals, number, percent, places

if TYPE_CHECKING:
    from nonlin.diagnosis.card import HealthCard
    from nonlin.diagnosis.precision import HalfPrecision
    from nonlin.diagnosis.tails import Tail

WIDTH = 110


def rows(card: HealthCard) -> list[tuple[str, str]]:
    """(label, text) pairs; every card has the same labels in the same order, the cost only where it was measured."""
    found = [
        ("gain 1/√E[f²]", number(card.gain)),
        ("mean, std of output", f"{number(card.mean)}, {number(card.std)}"),
        ("H, J (nats)", f"{number(card.H)}, {number(card.J)}"),
        (f"edge of chaos, q = {card.q:g}", _edge(card)),
        ("maps for σ_w, σ_b", f"{number(card.sigma_w)}, {number(card.sigma_b)}"),
        ("variances kept", _fixed_points(card)),
        ("χ₁, depth scale", _gradients(card)),
        ("correlation 0 →, limit", _correlation(card)),
        ("self-normalising", _normalisation(card)),
        ("sup|f'|, sup|f''|", f"{_bound(card)}, {'∞' if card.max_curvature is None else number(card.max_curvature)}"),
        ("monotone", card.monotone),
        ("range", _range(card)),
        ("at -∞; at +∞", f"{_end(card.left)}; {_end(card.right)}"),
        ("zeros", _zeros(card)),
        ("smoothness", _smoothness(card)),
        ("dead, |f'| < 0.001", _with_share(intervals(card.dead), card.dead_share)),
        ("saturated; exactly 0", f"{_share(card.saturated_share)}; {percent(card.zero_share)}"),
        ("float16", _half(card.float16)),
        ("bfloat16", _half(card.bfloat16)),
        ("transcendentals", "none: a table" if card.transcendentals is None else str(card.transcendentals)),
    ]
    if card.undefined_share > 0:
        found.insert(3, ("no value", f"{percent(card.undefined_share)} of N(0,1): {intervals(card.undefined)}"))
    if card.cost is not None:
        found.append(("cost, ReLU = 1", f"{card.cost:.3g}"))
    return found


def describe(card: HealthCard) -> str:
    """The card as plain text."""
    lines = [heading(card), ""]
    shown = rows(card)
    width = max(len(label) for label, _ in shown) + 2
    for label, text in shown:
        lines += textwrap.wrap(text, WIDTH, initial_indent=f"{label:<{width}}", subsequent_indent=" " * width)
    for title, sentences in zip(("Advantages", "Drawbacks"), card.words(), strict=True):
        lines += ["", title]
        for sentence in sentences or ["none that the numbers show"]:
            lines += textwrap.wrap(sentence, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join(lines)


def heading(card: HealthCard) -> str:
    """name: formula (parameters)"""
    values = ", ".join(f"{name} = {value:g}" for name, value in card.parameters.items())
    title = card.formula if card.name == card.formula else f"{card.name}: {card.formula}"
    return f"{title} ({values})" if values else title


def _edge(card: HealthCard) -> str:
    if card.edge.sigma_w is None:
        return f"none: {card.edge.reason}"
    return f"σ_w {number(card.edge.sigma_w)}, σ_b {number(card.edge.sigma_b)}"


def _fixed_points(card: HealthCard) -> str:
    if card.every_variance_fixed:
        return "every one (neutral)"
    names = {True: "stable", False: "unstable", None: "neutral"}
    return ", ".join(f"{number(p.q)} {names[p.stable]}" for p in card.fixed_points) or "none"


def _gradients(card: HealthCard) -> str:
    if card.chi is None:
        return "none"
    if card.depth_scale is None:
        return f"{number(card.chi)}, infinite" if card.phase == "critical" else number(card.chi)
    return f"{number(card.chi)} {card.phase}, {number(card.depth_scale)} layers"


def _correlation(card: HealthCard) -> str:
    if card.correlation_map is None:
        return "none"
    return f"{number(card.correlation_map[0][1])}, {number(card.correlation_limit)}"


def _normalisation(card: HealthCard) -> str:
    n = card.normalisation
    if n is None:
        return "no: no variance in [0.1, 10] is kept"
    text = f"(mean, variance) ({number(n.mean)}, {number(n.variance)}), radius {number(n.radius)}"
    return f"{'yes' if n.self_normalising else 'no'}: {text}"


def _bound(card: HealthCard) -> str:
    if card.lipschitz is not None:
        return f"{number(card.lipschitz)} {_at(card.lipschitz_at)}"
    return f"∞ {_at(card.lipschitz_at)}" if card.lipschitz_at is not None else "∞ (grows)"


def _at(x: float | None) -> str:
    return "(approached)" if x is None else f"(x = {number(x)})"


def _range(card: HealthCard) -> str:
    low = f"{number(card.lower)} {_at(card.lower_at)}" if card.bounded_below else "-∞"
    high = f"{number(card.upper)} {_at(card.upper_at)}" if card.bounded_above else "∞"
    return f"{low} to {high}"


def _end(tail: Tail) -> str:
    return f"→ {number(tail.limit)}" if tail.kind == "limit" else tail.kind


def _zeros(card: HealthCard) -> str:
    parts = [f"x = {places(list(card.zeros))}"] if card.zeros and not card.countless_zeros else []
    if card.countless_zeros:
        parts = ["countless"]
    if card.zero_intervals:
        parts.append(intervals(card.zero_intervals))
    return " and ".join(parts) or "none"


def _smoothness(card: HealthCard) -> str:
    if not card.breaks:
        return card.smoothness
    lowest = min(b.order for b in card.breaks)
    first = min((b for b in card.breaks if b.order == lowest), key=lambda b: abs(b.x))
    what = "pole" if lowest == 0 and math.isinf(first.size) else f"f{chr(39) * lowest} breaks"
    count = len([b for b in card.breaks if b.order == lowest]) - 1
    more = " and countless others" if card.countless_breaks else f" and {count} more" if count else ""
    return f"{card.smoothness}: {what} at x = {number(first.x)}{more}"


def _with_share(where: str, share: float) -> str:
    return f"{percent(share)} of N(0,1){', wide: ' if where else ''}{where}"


def _share(value: float | None) -> str:
    return "none" if value is None else percent(value)


def _half(half: HalfPrecision) -> str:
    parts = ["no value"] if half.error_at is None else [f"{number(half.largest_error)} ulp at {half.error_at:.4g}"]
    for what, at in (
        ("value ∞", half.value_overflows),
        ("gradient ∞", half.slope_overflows),
        ("NaN", half.not_a_number),
    ):
        if at is not None:
            parts.append(f"{what} at {at:.4g}")
    return ", ".join(parts)
