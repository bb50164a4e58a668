"""The command line in this process, and quiet libraries."""

import sys

import pytest


@pytest.fixture
def run_nonlin(capsys, monkeypatch, tmp_path_factory):
    """Runs the command in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))

    def run(*arguments):
        from nonlin.cli import main

        monkeypatch.setattr(sys, "argv", ["nonlin", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
