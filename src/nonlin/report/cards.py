"""Health cards and first diagnoses, from the plain dictionaries that `nonlin.diagnosis` makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Card = Mapping[str, Any]

# What the table of cards shows: (column, tip, key of the card)
COLUMNS = (
    ("gain", "1/√E[f(Z)²], Z ~ N(0,1): keeps the size of signals", "gain"),
    ("mean", "of the output, for a standard normal input", "mean"),
    ("sd", "of the output, for a standard normal input", "std"),
    ("χ₁", "factor on squared gradients in one layer; above 1 they grow", "chi"),
    ("sup |f′|", "largest slope", "lipschitz"),
    ("dead", "share of N(0,1) where |f′| < 0.001", "dead_share"),
    ("saturated", "share of N(0,1) where |f′| is under a tenth of its root mean square", "saturated_share"),
    ("smoothness", "C0: continuous with kinks", "smoothness"),
    ("monotone", "", "monotone"),
    ("range", "infimum and supremum", "range"),
)
SHARES = ("dead_share", "saturated_share")


@dataclass(frozen=True)
class CardRow:
    """One function: (text, value to sort by) for each of COLUMNS, and sentences."""

    label: str
    cells: tuple[tuple[str, Any], ...]
    advantages: tuple[str, ...]
    drawbacks: tuple[str, ...]


@dataclass(frozen=True)
class LayerTable:
    """Gradients before training: for each arm the root mean square of the loss' gradient by each layer's outputs.

    `ratio` is that of the first layer over that of the last; shares are the largest of any layer.
    """

    layers: tuple[str, ...]
    rows: tuple[LayerRow, ...]


@dataclass(frozen=True)
class LayerRow:
    label: str
    role: str
    gradients: tuple[float | None, ...]
    ratio: float | None
    dead: float | None
    saturated: float | None
    warnings: tuple[str, ...]


def card_rows(cards: Mapping[str, Card]) -> list[CardRow]:
    """The rows of the table of health cards."""
    return [
        CardRow(
            label,
            tuple(_cell(card, key) for _, _, key in COLUMNS),
            tuple(card.get("advantages", ())),
            tuple(card.get("drawbacks", ())),
        )
        for label, card in cards.items()
    ]


def layer_table(diagnoses: Mapping[str, Mapping[str, Any]], nulls: set[str], order: Sequence[str]) -> LayerTable | None:
    """One task's networks side by side; None where there is nothing to tell."""
    rows: list[LayerRow] = []
    layers: tuple[str, ...] = ()
    for label in order:
        found = diagnoses.get(label, {}).get("layers", ())
        if not found:
            continue
        names = tuple(layer["name"] + (f" ({layer['call']})" if layer["call"] > 1 else "") for layer in found)
        layers = layers or names
        if names != layers:  # another network: not to be shown in one table
            continue
        gradients = tuple(layer["gradient"] for layer in found)
        first, last = gradients[0], gradients[-1]
        rows.append(
            LayerRow(
                label=label,
                role="null" if label in nulls else "given",
                gradients=gradients,
                ratio=first / last if first is not None and last else None,
                dead=_largest(layer["dead"] for layer in found),
                saturated=_largest(layer["saturated"] for layer in found),
                warnings=tuple(diagnoses[label].get("warnings", ())),
            )
        )
    if not rows or all(value is None for row in rows for value in row.gradients):
        return None
    return LayerTable(layers, tuple(rows))


def _cell(card: Card, key: str) -> tuple[str, Any]:
    if key == "range":
        low, high = card.get("lower"), card.get("upper")
        ends = (_short(low) if low is not None else "−∞", _short(high) if high is not None else "∞")
        return f"{ends[0]} to {ends[1]}", "" if low is None else low
    value = card.get(key)
    if isinstance(value, str):
        return value, value
    if value is None:
        return "∞" if key == "lipschitz" else "–", "inf" if key == "lipschitz" else ""
    return (f"{value:.1%}" if key in SHARES else _short(value)), value


def _short(value: float) -> str:
    return "0" if abs(value) < 1e-12 else f"{value:.3g}".replace("-", "−")


def _largest(values) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
