"""`nonlin health`: the health card of one activation, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from rich.console import Console

    from nonlin.diagnosis import HealthCard


def health(
    formulas: list[str] = typer.Argument(..., metavar="F...", help="Names or formulas."),
    set_: list[str] = typer.Option(
        [], "--set", metavar="NAME=NUMBER", help="A parameter's value, in every function that has it; repeatable."
    ),
    q: float = typer.Option(1.0, "-q", help="Variance of the pre-activations for the edge of chaos."),
    sigma_w: float = typer.Option(None, help="Scale of the weights. Default: what keeps the variance at q."),
    sigma_b: float = typer.Option(None, help="Scale of the biases. Default: 0."),
    cost: bool = typer.Option(True, help="Time forward and backward against ReLU, 0.2 s for each function."),
    picture: Path = typer.Option(
        None, "--plot", help="Also draw it: .png, .svg or .pdf; of several functions, one file each."
    ),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show what the numbers of an activation say: signals, gradients, shape, half precision, cost.

    docs/health.md defines every number. None of them says which activation trains best on your task: compare does.

    Examples: nonlin health gelu  |  nonlin health relu 'x*tanh(x)'  |  nonlin health swish --set beta=2 --plot h.png
    """
    from nonlin.run.local import one_thread

    acts = _activations(formulas, _values(set_))
    paths = _paths(picture, [act.name for act in acts])
    with one_thread():  # many small arrays: a second thread costs more than it brings
        from nonlin.diagnosis import health as examine

        cards = [examine(act, q=q, sigma_w=sigma_w, sigma_b=sigma_b, measure_cost=cost) for act in acts]
        for card, path in zip(cards, paths, strict=False):
            card.plot(path)
    if json:
        print_json({"cards": [card.as_dict() for card in cards], "pictures": [str(path) for path in paths]})
        return
    out = console()
    if len(cards) == 1:
        out.print(escape(str(cards[0])), soft_wrap=True)
    else:
        _side_by_side(out, cards)
    for path in paths:
        out.print(f"picture: {path}", soft_wrap=True)


def _side_by_side(out: Console, cards: list[HealthCard]) -> None:
    """A table with a column for each card; then what is good and bad about each."""
    from nonlin.diagnosis.sheet import heading, rows

    columns = [dict(rows(card)) for card in cards]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    shown = table("", *(escape(card.name) for card in cards))
    shown.columns[0].no_wrap = True
    for column in shown.columns[1:]:
        column.overflow = "fold"
    for label in labels:
        shown.add_row(f"[bold]{escape(label)}[/bold]", *(escape(column.get(label, "-")) for column in columns))
    out.print(shown)
    for card in cards:
        out.print(f"\n[bold]{escape(heading(card))}[/bold]", soft_wrap=True)
        for sign, sentences in zip(("+", "-"), card.words(), strict=True):
            for sentence in sentences:
                out.print(escape(f"  {sign} {sentence}"), soft_wrap=True)


def _values(pairs: list[str]) -> dict[str, float]:
    """NAME=NUMBER pairs as a dictionary."""
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            values[name.strip()] = float(text)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise NonlinError(f"--set {pair!r} must be a parameter and a number, as in --set beta=2.")
    return values


def _activations(formulas: list[str], values: dict[str, float]) -> list:
    """The activations, each with those of the values that belong to it; every value must belong to one."""
    from nonlin.zoo import activation, entry, names

    known = set(names())
    acts, used = [], set()
    for formula in formulas:
        act = activation(formula)
        constants = dict(entry(act.name).constants) if act.name in known else {}
        own = {name: value for name, value in values.items() if name in act.parameters or name in constants}
        used |= set(own)
        acts.append(activation(formula, **own) if own else act)
    if unused := [name for name in values if name not in used]:
        have = ", ".join(dict.fromkeys(name for act in acts for name in act.parameters)) or "none"
        raise NonlinError(f"--set {unused[0]}: no function here has that parameter; trainable ones: {have}.")
    return acts


def _paths(picture: Path | None, names: list[str]) -> list[Path]:
    """One file for each function: h.png, or h-gelu.png and h-relu.png. Checked before anything is computed."""
    if picture is None:
        return []
    from nonlin.report.plot import checked_format

    checked_format(picture)
    if len(names) == 1:
        return [picture]
    found: list[Path] = []
    for number, name in enumerate(names, 1):
        short = "".join(letter for letter in name if letter.isalnum() or letter in "_+")[:40]
        path = picture.with_name(f"{picture.stem}-{short}{picture.suffix}")
        found.append(path if path not in found else path.with_name(f"{path.stem}-{number}{path.suffix}"))
    return found
