"""`nonlin diagnose`: what goes on inside a network, and lessons on what goes wrong in deep ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from nonlin.cli.screen import console, print_json, table
from nonlin.errors import NonlinError

if TYPE_CHECKING:
    from nonlin.diagnosis import ChildDiagnosis, Lesson
    from nonlin.diagnosis.tables import Table


def diagnose(
    formula: str = typer.Argument(None, metavar="[F]", help="A name or a formula; left out with --lesson."),
    task: str = typer.Option("digits-mlp", help="Whose network: see 'nonlin tasks'."),
    initial: bool = typer.Option(False, "--initial", help="The fresh network only; nothing is trained."),
    seed: int = typer.Option(0, help="Of weights and batches."),
    lesson: str = typer.Option(None, help="Instead: vanishing, exploding, dead or selu."),
    repeats: int = typer.Option(3, help="Seeds of a lesson.", min=1),
    protocol: str = typer.Option("common", help="Initial weights: 'common', or 'selu' as SELU's authors require."),
    normalise: bool = typer.Option(True, help="Scale initial weights by the function's gain."),
    picture: Path = typer.Option(None, "--plot", metavar="FILE", help="Also draw it: .png, .svg or .pdf."),
    quantity: str = typer.Option("all", help="What to draw: gradient, update, dead, pre-activations, parameters, ..."),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Look into a network layer by layer, before and after training: gradients, speed of learning, dead and
    saturated units, mean, deviation and entropy of outputs, trained parameters of the activation.

    With --lesson: a phenomenon of deep networks, shown with numbers on real data in some seconds.

    Examples: nonlin diagnose swish  |  nonlin diagnose relu --task digits-cnn --plot relu.png  |
    nonlin diagnose --lesson vanishing --plot vanishing.png
    """
    from nonlin.run.local import one_thread

    _check(formula, lesson, picture, quantity)
    with one_thread():
        if lesson is not None:
            from nonlin.diagnosis import lesson as run_lesson

            result = run_lesson(lesson, seed, repeats)
            written = result.plot(picture) if picture else None
            _show(result, json, written, print_lesson)
        else:
            from nonlin.diagnosis import diagnose_task

            found = diagnose_task(formula, task, seed, not initial, normalise=normalise, protocol=protocol)
            written = found.plot(picture, quantity) if picture else None
            _show(found, json, written, print_child)


def _check(formula: str | None, lesson: str | None, picture: Path | None, quantity: str) -> None:
    """What is wrong with the options, before anything is computed."""
    if (formula is None) == (lesson is None):
        raise NonlinError(
            "name an activation or a lesson: 'nonlin diagnose relu' or 'nonlin diagnose --lesson dead'."
            if formula is None
            else f"--lesson {lesson} brings its own functions; leave out {formula!r}."
        )
    if picture is not None:
        from nonlin.report.diagnosis import known_quantity
        from nonlin.report.plot import checked_format

        checked_format(picture)
        known_quantity(quantity)


def _show(found, json: bool, picture: Path | None, show) -> None:
    if json:
        print_json({**found.as_dict(), "picture": str(picture) if picture else None})
        return
    out = console()
    show(found, out)
    if picture is not None:
        out.print(f"\npicture: {picture}", soft_wrap=True)


def print_child(found: ChildDiagnosis, out: Console) -> None:
    """Tables before and after training, the steps in between, and what looks wrong."""
    out.print(f"[bold]{escape(str(found.activation))}[/bold] on {found.task}, seed {found.seed}")
    for label, diagnosis in found.diagnoses():
        after = "" if label == "before training" else f" ({found.ending()})"
        loss = "-" if diagnosis.loss is None else f"{diagnosis.loss:.4g}"
        out.print(f"\n[bold]{label}[/bold]{after}: loss {loss} on {_rows(diagnosis)}; {diagnosis.update}")
        for part in (*diagnosis.tables(), diagnosis.parameters()):
            _print(part, out)
        for note in diagnosis.notes:
            out.print(f"note: {escape(note)}")
        for warning in diagnosis.warnings():
            out.print(f"[yellow]warning[/yellow]: {escape(warning)}")
    if found.recorder is not None:
        out.print("\n[bold]during training[/bold]: first and last recorded step of the task's own optimizer")
        for part in found.recorder.tables():
            _print(part, out)


def _rows(diagnosis) -> str:
    count = diagnosis.layers[0].shape[0] if diagnosis.layers else 0
    return f"{count} training rows"


def print_lesson(found: Lesson, out: Console) -> None:
    """The question, the numbers, and what they say."""
    out.print(f"[bold]{escape(found.title)}[/bold]\n{escape(found.question)}\n\n{escape(found.setting)}")
    for part in found.tables:
        _print(part, out)
    out.print()
    for finding in found.findings:
        mark = "[green]shown[/green]" if finding.holds else "[yellow]NOT shown[/yellow]"
        out.print(f"{mark}: {escape(finding.sentence)}")
    out.print()
    for source in found.sources:
        out.print(f"[dim]source: {escape(source)}[/dim]")
    out.print(f"[dim]{found.seconds:.1f} s[/dim]")


def _print(part: Table, out: Console) -> None:
    """A table of text as one of the screen's."""
    if not part.rows:
        return
    numbers = tuple(name for name, right in zip(part.columns, part.numeric(), strict=True) if right)
    shown = table(*part.columns, right=numbers)
    for cells in part.cells():
        shown.add_row(*(escape(cell) for cell in cells))
    out.print()
    if part.title:
        out.print(f"[bold]{escape(part.title)}[/bold]")
    out.print(shown)
