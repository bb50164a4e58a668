"""`nonlin doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table

_MARKS = {"ok": "[green]ok[/green]", "missing": "[yellow]missing[/yellow]", "broken": "[red]broken[/red]"}


def doctor(json: bool = typer.Option(False, "--json", help='Print JSON: {"findings": [...]}.')) -> None:
    """Look at this installation: versions, the compiled core, GPU, threads, data, extras; and what to do about each.

    What is "missing" costs speed or a feature; what is "broken" makes the exit status 1.

    Example: nonlin doctor
    """
    from nonlin.run import examine

    findings = examine()
    if json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        shown = table("", "", "found", "what to do")
        for finding in findings:
            advice = escape(finding.advice)
            shown.add_row(finding.subject, _MARKS[finding.state], escape(finding.found), advice)
        console().print(shown)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)
