"""The section of docs/ship.md on other libraries: its Python blocks run as they stand."""

import re
from pathlib import Path

import pytest
from torchvision_stub import torchvision_or_stub

PAGE = (Path(__file__).parents[2] / "docs" / "ship.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## In other libraries")[1].split("\n## ")[0]


def blocks(title):
    part = SECTION.split(f"### {title}")[1].split("\n### ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", part, re.DOTALL))


def run(title, folder, monkeypatch):
    monkeypatch.chdir(folder)
    namespace = {}
    exec(blocks(title), namespace)
    return namespace


def test_hugging_face(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    names = run("Hugging Face", tmp_path, monkeypatch)
    assert names["report"].skipped == []
    again = transformers.GPT2LMHeadModel.from_pretrained("my-gpt2")
    assert [again.transformer.h[i].mlp.act.label for i in (0, 1)] == ["mish", "mish"]
    assert names["loaded"].transformer.h[0].mlp.act.label == "swish"
    assert names["other"].transformer.h[0].mlp.act.label == "x*tanh(softplus(x))"


def test_timm(tmp_path, monkeypatch):
    with torchvision_or_stub():
        pytest.importorskip("timm")
    names = run("timm", tmp_path, monkeypatch)
    assert names["model"].bn1.act.beta.item() == 1.5
    assert len(names["report"]) == 33


@pytest.mark.filterwarnings("ignore")  # what Lightning's import warns of
def test_lightning(tmp_path, monkeypatch):
    pytest.importorskip("lightning")
    module = run("Lightning, Keras 3, JAX", tmp_path, monkeypatch)["Module"]()
    assert module.net[1].beta.shape == (16,)
