"""The README's Python blocks run as they stand, and its counts are those of the code."""

import re
from pathlib import Path

import nonlin as nl

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    namespace = {}
    code = "\n".join(BLOCKS)
    # shorter searches, in this process: the workers of a script would need a file to import
    code = code.replace("budget=300", "budget=3").replace(", workers=2", "").replace("budget=40", "budget=3")
    try:
        exec(compile(code, "README.md", "exec"), namespace)
    finally:
        from nonlin.zoo.catalogue import catalogue

        catalogue.cache_clear()
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "iris.html").exists()
    assert namespace["f"].same_as("swish")


def test_count_of_the_catalogue():
    claimed = int(re.search(r"(\d+) known activations", README).group(1))
    assert claimed <= len(nl.zoo.names()) < claimed + 10


def test_source_tree_is_the_real_one():
    named = set(re.findall(r"^  (\w+)/ ", README, re.MULTILINE))
    real = {path.name for path in (ROOT / "src" / "nonlin").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert named == real - {"__pycache__"}


def test_links_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link
