"""The Python blocks of docs/ship.md run as they stand; those on other libraries in tests/integrations."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "ship.md").read_text(encoding="utf-8")
PAGE = re.sub(r"## In other libraries\n.*?(?=^## )", "", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), namespace)
    assert "2 activations are now swish" in capsys.readouterr().out
    assert (tmp_path / "swish.py").read_text() == namespace["text"]
    assert [type(m).__name__ for m in namespace["model"]].count("ActivationModule") == 2
