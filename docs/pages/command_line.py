"""The page of the command line, from the verbs themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer.main


def setup(app: Any) -> dict[str, bool]:
    """Write the page before Sphinx looks for its sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Any) -> None:
    from nonlin.cli.app import app as command

    group = typer.main.get_command(command)
    parts = [
        "# Command line",
        "Every verb is a thin face of one public function. `--json` prints for machines. Exit status: 0 for success, "
        "2 for bad input (one message, no traceback), 1 for anything else. `nonlin --install-completion` sets up "
        "your shell.",
    ]
    parts += _verbs(group, "nonlin")
    page = Path(app.srcdir) / "generated" / "cli.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _verbs(group: Any, prefix: str) -> list[str]:
    parts: list[str] = []
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            parts += [f"## {prefix} {name}", _text(verb.help or "")]
            parts += _verbs(verb, f"{prefix} {name}")
        else:
            parts += _verb(f"{prefix} {name}", verb)
    return parts


def _verb(name: str, verb: Any) -> list[str]:
    context = verb.make_context(name, [], resilient_parsing=True)
    parts = [f"## {name}", f"```console\n$ {name} {_operands(verb, context)}[OPTIONS]\n```", _text(verb.help or "")]
    rows = [record for parameter in verb.params if (record := parameter.get_help_record(context))]
    if rows:
        parts.append("| | |\n|---|---|\n" + "\n".join(f"| `{flag}` | {_cell(words)} |" for flag, words in rows))
    return [part for part in parts if part]


def _operands(verb: Any, context: Any) -> str:
    arguments = [parameter for parameter in verb.params if parameter.param_type_name == "argument"]
    return "".join(argument.get_help_record(context)[0].split(" <")[0] + " " for argument in arguments)


def _text(words: str) -> str:
    """Rich's markup as Markdown's, and the examples as a block to copy from."""
    words = re.sub(r"\[/?bold\]", "**", words).replace("\b", "")
    words, _, examples = re.sub(r"\bExamples?:", "\0", words, count=1).partition("\0")
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", words.strip())]
    commands = [" ".join(command.split()) for command in re.split(r"\s+\|\s+|\n\s*(?=nonlin )", examples.strip())]
    if examples:
        paragraphs.append("```console\n" + "\n".join(f"$ {command}" for command in commands) + "\n```")
    return "\n\n".join(paragraphs)


def _cell(words: str) -> str:
    return re.sub(r"\[/?bold\]", "**", words).replace("|", "\\|").replace("\n", " ").replace("[default", "\\[default")
