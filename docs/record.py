"""Rerun the commands of a page and write down what they print: `python docs/record.py docs/tutorial.md`.

Every ```console block holds commands (`$ ...`), each followed by its output. All commands of a page run in one
empty folder, in order; the old output is replaced. A command that fails stops the recording, unless the block
shows an error on purpose (```console error).
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_BLOCK = re.compile(r"^```console(?P<kind>[^\n]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
WIDTH = "100"


def record(page: Path) -> None:
    """Rewrite one page in place."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        text = _BLOCK.sub(lambda block: _recorded(block, Path(folder)), text)
    page.write_text(text, encoding="utf-8")


def _recorded(block: re.Match[str], folder: Path) -> str:
    out = []
    for command in re.findall(r"^\$ (.*(?:\\\n.*)*)", block["body"], re.MULTILINE):
        print(f"$ {command}", file=sys.stderr)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "COLUMNS": WIDTH, "NO_COLOR": "1", "PATH": path},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "error" in block["kind"] else subprocess.DEVNULL,  # else it is progress
        )
        if (done.returncode != 0) != ("error" in block["kind"]):
            sys.exit(f"{command!r} ended with status {done.returncode}:\n{done.stdout}")
        lines = [line.rstrip() for line in done.stdout.replace(str(folder) + "/", "").splitlines()]
        out.append("\n".join([f"$ {command}", *lines]).rstrip())
    return f"```console{block['kind']}\n" + "\n".join(out) + "\n```"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("page", nargs="+", type=Path)
    for page in options.parse_args().page:
        record(page)
