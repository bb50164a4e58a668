"""The command line in this process."""

import sys

import pytest

from nonlin.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line: (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nonlin", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
