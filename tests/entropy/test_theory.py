"""docs/theory.md: each claim names a test that exists, and the equations are numbered without gaps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


def test_every_named_test_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 30
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_equations_are_numbered_in_order():
    numbers = [int(number) for number in re.findall(r" {3,}\((\d+)\)$", TEXT, flags=re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
