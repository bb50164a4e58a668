"""`nonlin list`: the known activations."""

from __future__ import annotations

import typer
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table
from nonlin.errors import NonlinError


def list_activations(
    words: list[str] = typer.Argument(None, metavar="[WORD]...", help="Only those that contain every word."),
    json: bool = typer.Option(False, "--json", help='Print JSON: {"activations": [...]}.'),
) -> None:
    """List the known activations: name, formula, source.

    Example: nonlin list tanh
    """
    from nonlin import zoo

    entries = [zoo.entry(name) for name in zoo.names()]
    for word in words or []:
        entries = [
            entry for entry in entries
            if word.lower() in " ".join((entry.name, *entry.aliases, entry.formula, entry.source, entry.remark)).lower()
        ]  # fmt: skip
    if not entries:
        raise NonlinError(f"no activation mentions {' '.join(words)!r}; 'nonlin list' without words shows all.")
    if json:
        rows = [
            {
                "name": entry.name, "aliases": list(entry.aliases), "formula": entry.formula,
                "parameters": entry.activation().parameters, "constants": dict(entry.constants),
                "source": entry.source, "remark": entry.remark,
            }
            for entry in entries
        ]  # fmt: skip
        print_json({"activations": rows})
        return
    shown = table("name", "formula", "source")
    for entry in entries:
        shown.add_row(entry.name, escape(entry.formula), escape(entry.source))
    console().print(shown)
    noun = "activation" if len(entries) == 1 else "activations"
    console().print(f"[dim]{len(entries)} {noun}; 'nonlin show NAME' tells more of one.[/dim]")
