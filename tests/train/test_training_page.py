"""The Python blocks of docs/training.md run as they stand; that on the language tasks in tests/tasks."""

import re
from pathlib import Path

from nonlin.cli.app import VERBS
from nonlin.tasks import Budget

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec("\n".join(BLOCKS[:2]), namespace)
    assert namespace["outcome"].test_score > 0.9
    assert namespace["weights"]["0.weight"].shape == (64, 64)


def test_every_setting_is_on_the_page():
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert set(Budget.__dataclass_fields__) - {"evaluation_batch"} <= named
    assert "train" in VERBS
