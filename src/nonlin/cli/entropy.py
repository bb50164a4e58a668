"""`nonlin derive` and `nonlin worst`: what entropy says about an activation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from nonlin.cli.screen import check_picture, complain, console, print_json, table
from nonlin.errors import DensityError, NonlinError

if TYPE_CHECKING:
    from nonlin.entropy import Density

_DENSITY = typer.Option(
    None,
    help="Density of the pre-activation, normal by default; or logistic, laplace, uniform, student_t, gumbel, cauchy.",
)
_LOC = typer.Option(None, help="Its location.")
_SCALE = typer.Option(None, help="Its scale.")
_DF = typer.Option(None, help="Degrees of freedom of student_t.")
_SAMPLES = typer.Option(None, help="A file of measured pre-activations instead: .npy, or numbers as text.")
_OUTPUT = typer.Option(None, "--output", "-o", help="Also draw it: .png, .svg or .pdf.")
_JSON = typer.Option(False, "--json", help="Print JSON.")


def derive(
    formula: str = typer.Argument(..., metavar="F", help="A name or a formula."),
    density: str = _DENSITY,
    loc: float = _LOC,
    scale: float = _SCALE,
    df: float = _DF,
    samples: Path = _SAMPLES,
    eps: float = typer.Option(0.01, help="Initial amplitude of the correction."),
    output: Path = _OUTPUT,
    latex: bool = typer.Option(False, "--latex", help="Show the steps as LaTeX."),
    json: bool = _JSON,
) -> None:
    """Derive a better activation from information entropy, every step shown (Sun et al. 2024).

    Entropy alone does not decide which function trains better; docs/theory.md says what it can and cannot do.

    Examples: nonlin derive relu  |  nonlin derive gelu --density logistic -o gelu.png
    """
    from nonlin.entropy import H, J, improve

    check_picture(output)
    source = _source(density, loc, scale, df, samples)
    smooth = 0.1
    found = improve(formula, source, eps)
    figures = {
        name: {"H": H(act, source, smoothing=smooth), "J": J(act, source, smoothing=smooth)}
        for name, act in (("before", found.base), ("after", found.activation))
    }
    if output is not None:
        from nonlin.report.entropy import plot_improvement

        plot_improvement(found, output)
    if json:
        print_json(
            {
                "base": found.base.formula, "density": source.name, "eps": found.eps, "steps": found.steps(),
                "direction": found.direction.formula, "activation": found.activation.formula,
                "name": found.activation.name, "parameters": found.activation.parameters, "misfit": found.misfit,
                "monotone": found.monotone, "entropy": figures, "smoothing": smooth,
                "picture": str(output) if output else None,
            }
        )  # fmt: skip
        return
    out = console()
    for line in found.steps(latex):
        out.print(escape(line), soft_wrap=True)
    shown = table("", f"H, smoothed by {smooth:g} (nats)", f"J, smoothed by {smooth:g}·sd (nats)")
    for name, values in figures.items():
        label = found.base.name if name == "before" else f"{found.activation.name}, eps = {found.eps:g}"
        shown.add_row(escape(label), _nats(values["H"]), _nats(values["J"]))
    out.print()
    out.print(shown)
    if all(figures["after"][name] > figures["before"][name] for name in "HJ"):
        out.print(
            "The entropy rises with this eps; to first order it falls with one of the other sign. Training chooses."
        )
    if output is not None:
        out.print(f"picture: {output}", soft_wrap=True)


def worst(
    density: str = _DENSITY,
    loc: float = _LOC,
    scale: float = _SCALE,
    df: float = _DF,
    samples: Path = _SAMPLES,
    low: float = typer.Option(None, help="Lower bound of the output. Default: 0."),
    high: float = typer.Option(None, help="Upper bound of the output. Default: 1."),
    fixed: str = typer.Option("range", help="What is held fixed: the output's 'range' or its 'variance'."),
    output: Path = _OUTPUT,
    json: bool = _JSON,
) -> None:
    """Show the activation whose output has the largest entropy under a density: the worst one (Sun et al. 2024).

    Examples: nonlin worst --density logistic  |  nonlin worst --samples pre.npy --low -1 -o worst.png
    """
    from nonlin.entropy import H
    from nonlin.entropy import worst as find

    if fixed == "variance" and (low, high) != (None, None):
        raise NonlinError("with --fixed variance the output has no bounds; leave out --low and --high.")
    low, high = 0.0 if low is None else low, 1.0 if high is None else high
    check_picture(output)
    source = _source(density, loc, scale, df, samples)
    act = find(source, low, high, fixed)  # type: ignore[arg-type]
    entropy = round(H(act, source), 12) + 0.0  # what is left of a sum that is 0 is not shown, nor is -0
    if output is not None:
        from nonlin.report.entropy import plot_worst

        plot_worst(act, source, output)
    if json:
        print_json(
            {
                "name": act.name, "formula": act.formula, "density": source.name, "fixed": fixed, "low": low,
                "high": high, "entropy": entropy, "picture": str(output) if output else None,
            }
        )  # fmt: skip
        return
    out = console()
    out.print(f"[bold]{escape(act.name)}[/bold]: {escape(act.formula)}", soft_wrap=True)
    out.print(f"entropy of its output under the density {escape(source.name)}: {_nats(entropy)} nats")
    if output is not None:
        out.print(f"picture: {output}", soft_wrap=True)


def _nats(value: float) -> str:
    return f"{round(value, 6) + 0.0:.6f}"  # no -0.000000


def _source(
    name: str | None, loc: float | None, scale: float | None, df: float | None, samples: Path | None
) -> Density:
    """The density that the options describe."""
    from nonlin.entropy import density

    given = {key: value for key, value in (("loc", loc), ("scale", scale), ("df", df)) if value is not None}
    if samples is None:
        return density("normal" if name is None else name, **given)
    if name is not None:
        given["density"] = name  # type: ignore[assignment]
    if given:
        raise NonlinError(f"--samples stands for itself; leave out --{next(iter(given))}.")
    values = _read(samples)
    if 0 < (different := len(set(values.tolist()))) <= len(values) / 2:
        complain(
            f"only {different} of the {len(values):,} samples differ. What follows is of a smooth density that is put "
            "in their place; the entropy of so few values themselves would be -inf.",
            "note",
        )
    return density(values)


def _read(path: Path):
    """The numbers of a .npy or text file, as one row."""
    import numpy as np

    remedy = "A .npy array of real numbers works, or numbers as text."
    try:
        if path.suffix == ".npy":
            values = np.load(path)
        else:
            with warnings.catch_warnings(action="ignore"):  # an empty file is reported below, as no samples
                values = np.loadtxt(path, ndmin=1)
    except OSError as error:
        raise DensityError(f"cannot read samples from {path}: {error.strerror or error}. {remedy}") from None
    except EOFError:
        raise DensityError(f"cannot read samples from {path}: the file is empty. {remedy}") from None
    except ValueError:
        raise DensityError(f"cannot read samples from {path}: it holds something else than numbers. {remedy}") from None
    if values.dtype.kind not in "biuf":
        raise DensityError(f"{path} holds values of type {values.dtype}, which are no real numbers. {remedy}")
    return np.array(values, dtype=float).ravel()
