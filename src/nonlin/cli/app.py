"""The `nonlin` command: collects the verbs and turns errors of ours into messages."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

import nonlin
from nonlin.cli import (
    bench,
    catalogue,
    comparing,
    confirming,
    describe,
    diagnose,
    doctor,
    drawing,
    entropy,
    exporting,
    health,
    listing,
    pipeline,
    reproducing,
    results,
    searching,
    training,
)
from nonlin.cli.screen import INTERRUPTED, complain
from nonlin.errors import NonlinError


class _Verbs(TyperGroup):
    """Says of a bad value what it was: typer's own message, made by pydantic, keeps it to itself."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
            if found:
                wanted = found[0]["msg"].removeprefix("Input should be ").split(",")[0]
                error.message = f"{found[0]['input']!r} is not {wanted}."
            raise


app = typer.Typer(
    name="nonlin",
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help=(
        "Which activation function should this network use, is there a better one, and why?\n\n"
        "Wherever an activation is expected, give a name (see [bold]nonlin list[/bold]) or a formula of x such as "
        "'x*sigmoid(beta*x)'; names other than x are trainable parameters."
    ),
    epilog=(
        "Examples:\n\n"
        "  nonlin show gelu\n\n  nonlin plot swish gelu 'x*tanh(x)' -o shapes.png\n\n"
        "  nonlin compare relu gelu swish --task digits-cnn --seeds 10 --report compare.html\n\n"
        "  nonlin search --task digits-mlp --space core-1 --budget 300 --store a.db\n\n  nonlin top a.db -n 20"
    ),
)

VERBS: dict[str, Callable[..., None]] = {
    "list": catalogue.list_activations,
    "show": describe.show,
    "plot": drawing.plot,
    "compare": comparing.compare,
    "train": training.train,
    "search": searching.search,
    "resume": searching.resume,
    "top": results.top,
    "confirm": confirming.confirm,
    "transfer": confirming.transfer,
    "pipeline": pipeline.pipeline,
    "reproduce": reproducing.reproduce,
    "report": results.report,
    "health": health.health,
    "derive": entropy.derive,
    "worst": entropy.worst,
    "diagnose": diagnose.diagnose,
    "export": exporting.export,
    "tasks": listing.tasks,
    "spaces": listing.spaces,
    "doctor": doctor.doctor,
}
for verb, function in VERBS.items():
    app.command(verb)(function)
app.add_typer(bench.bench, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nonlin {nonlin.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    activations: str = typer.Option(
        "", metavar="FILE", help="TOML file with activations of your own; may stand anywhere on the line."
    ),
) -> None:
    """Options before the verb; `--activations` has been taken out and read by `main`."""


def main() -> None:
    """Run the command line and exit."""
    # with torch loaded, the interpreter's own looks for garbage on its way out take up to a second
    atexit.register(gc.freeze)
    signal.signal(signal.SIGTERM, _end)
    arguments = sys.argv[1:]
    try:
        arguments = _load_activations(arguments)
        app(args=arguments, prog_name="nonlin")
    except NonlinError as error:
        complain(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _end(*_: object) -> None:
    """What Slurm, Kubernetes and `kill` send is treated as Ctrl-C is: it says what was kept, and how to go on."""
    raise KeyboardInterrupt


def _load_activations(arguments: list[str]) -> list[str]:
    """Read the files named by --activations, wherever they stand, and return the other arguments."""
    rest: list[str] = []
    index = 0
    while index < len(arguments):
        argument = arguments[index]
        path = ""
        if argument == "--activations":
            if index + 1 == len(arguments):
                raise NonlinError("--activations needs a file: nonlin list --activations my.toml")
            index += 1
            path = arguments[index]
        elif argument.startswith("--activations="):
            path = argument.split("=", 1)[1]
        else:
            rest.append(argument)
        if path:
            from nonlin.zoo import load_file

            load_file(path)
        index += 1
    return rest
