"""`gpt2-dpo-*`: data in their true forms, the loss against trl's and by hand, one step, one evaluation."""

import dataclasses
import gzip
import json
import math
import os

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import nonlin as nl
from nonlin.errors import MissingExtraError, TaskError
from nonlin.tasks import Factory, is_there, task
from nonlin.tasks.language.preferences import hh_pairs, shp_pairs
from nonlin.train import fit

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

from language_files import hh_rows, shp_rows, write_gpt2, write_hh, write_shp  # noqa: E402

from nonlin.tasks.language import gpt2  # noqa: E402
from nonlin.tasks.language.dpo import Preference, dpo_task, log_likelihood, margins  # noqa: E402

BOTH = ("gpt2-dpo-shp", "gpt2-dpo-hh")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    write_gpt2(place / "gpt2")
    write_shp(place / "shp")
    write_hh(place / "hh-rlhf")
    return place


@pytest.fixture(autouse=True)
def data(folder, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(folder))
    return folder


@pytest.mark.parametrize("act", ["gelu_tanh", "crrelu"])
@pytest.mark.parametrize("name", BOTH)
def test_a_step_and_an_evaluation(name, act):
    chosen = task(name)
    budget = dataclasses.replace(chosen.budget, steps=1, warmup=0, batch_size=4, accumulate=2, device="cpu")
    outcome = fit(dataclasses.replace(chosen, budget=budget), act, final=True)
    assert outcome.status == "ok", outcome.error
    assert outcome.curves["train_loss"] == pytest.approx([math.log(2)], abs=1e-4)  # nothing preferred yet
    assert outcome.test_loss == pytest.approx(math.log(2), abs=1e-2)
    assert set(outcome.measures) == {"margin", "reward", "other_reward"}
    assert 0 < abs(outcome.measures["margin"]) < 1


def test_it_learns():
    chosen = task("gpt2-dpo-hh")
    budget = dataclasses.replace(
        chosen.budget, epochs=4, warmup=0, batch_size=8, accumulate=1, learning_rate=1e-3, device="cpu"
    )
    outcome = fit(dataclasses.replace(chosen, budget=budget), "crrelu", final=True, per="tensor")
    assert outcome.loss < 0.5
    assert outcome.test_score > 0.9
    assert outcome.measures["margin"] > 0.5
    assert outcome.measures["margin"] == pytest.approx(outcome.measures["reward"] - outcome.measures["other_reward"])
    assert outcome.parameters["epsilon"] != 0.01


def test_what_data_becomes():
    shp, hh = task("gpt2-dpo-shp").load(), task("gpt2-dpo-hh").load()
    assert [len(part[1]) for part in (shp.train, shp.validation, shp.test)] == [24, 8, 12]
    assert [len(part[1]) for part in (hh.train, hh.validation, hh.test)] == [49, 1, 6]
    for found in (shp, hh):
        assert found.train[0].dtype == torch.int32
        assert found.classes == 2
    assert set(hh.train[1].tolist()) == {0, 1}
    x, y = shp.train
    tokenizer = gpt2.tokenizer()
    row = next(iter(shp_rows(1)))
    given, answer = x[0, 0], x[0, 0][x[0, 0] >= 0]
    assert tokenizer.decode(answer) == f" {row['human_ref_A']}<|endoftext|>"
    assert tokenizer.decode(-1 - given[given < 0]).startswith(f"\n\nHuman: {row['history']}\n\nAssistant:")
    assert int(y[0]) == 1 - row["labels"]  # labels 0: B, the second, is preferred


def test_hh_pairs_alternate(data):
    pairs = list(hh_pairs(data / "hh-rlhf" / "helpful-base" / "test.jsonl.gz"))
    for pair, row in zip(pairs, hh_rows(6), strict=True):
        assert row["chosen"] == pair.prompt + pair.answers[pair.preferred]
        assert row["rejected"] == pair.prompt + pair.answers[1 - pair.preferred]
        assert pair.prompt.endswith("Go on.\n\nAssistant:")
    assert [pair.preferred for pair in pairs] == [0, 1, 0, 1, 0, 1]
    assert list(hh_pairs(data / "hh-rlhf" / "red-team-attempts" / "train.jsonl.gz")) == []


def test_parquet_holds_the_same(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "train-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(list(shp_rows(5))), path)
    lines = tmp_path / "train.json"
    lines.write_text("\n".join(map(json.dumps, shp_rows(5))))
    assert list(shp_pairs(path)) == list(shp_pairs(lines))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TaskError, match="damaged or was not copied"):
        list(shp_pairs(path))


def by_hand(model, codes):
    """Log-probability of an answer, one sequence at a time, without filling."""
    total = 0.0
    last = int((codes >= 0).nonzero().max())
    tokens = torch.where(codes < 0, -1 - codes, codes).long()[: last + 1]
    hidden = model(input_ids=tokens[None]).last_hidden_state[0]
    scores = (hidden @ model.wte.weight.T).log_softmax(-1)
    for place in range(1, last + 1):
        if codes[place] >= 0:
            total += float(scores[place - 1, tokens[place]])
    return total


@torch.no_grad()
def test_log_likelihood_by_hand():
    model = gpt2.pretrained(Factory(nl.activation("gelu_tanh")))
    codes = task("gpt2-dpo-shp").load().train[0][:6, 0]
    found = log_likelihood(model, codes)
    assert found.tolist() == pytest.approx([by_hand(model, row) for row in codes], rel=1e-4)


@torch.no_grad()
def test_gelu_is_gpt2_as_it_was():
    from transformers import GPT2Model

    ours = gpt2.pretrained(Factory(nl.activation("gelu_tanh"))).eval()
    theirs = GPT2Model.from_pretrained(gpt2.folder()).eval()
    tokens = torch.arange(20)[None]
    assert torch.allclose(ours(tokens).last_hidden_state, theirs(tokens).last_hidden_state, atol=1e-5)
    other = gpt2.pretrained(Factory(nl.activation("relu"))).eval()
    assert not torch.allclose(other(tokens).last_hidden_state, theirs(tokens).last_hidden_state, atol=1e-5)


def moved(beta):
    """A model whose policy has left its reference."""
    model = Preference(gpt2.pretrained(Factory(nl.activation("gelu_tanh"))), beta)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model


@torch.no_grad()
@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_the_loss_is_that_of_the_paper(beta):
    # [Rafailov2023], eq. 7, spelled out
    model = moved(beta)
    x, y = (part[:8] for part in task("gpt2-dpo-hh").load().train)
    logits = model(x)
    ratios = torch.tensor(
        [[by_hand(model.policy, codes) - by_hand(model.reference, codes) for codes in pair] for pair in x]
    )
    rows = torch.arange(len(y))
    expected = -F.logsigmoid(beta * (ratios[rows, y] - ratios[rows, 1 - y])).mean()
    assert float(F.cross_entropy(logits, y)) == pytest.approx(float(expected), rel=1e-4)
    found = margins(model, (x, y))
    assert found["margin"] == pytest.approx(float(beta * (ratios[rows, y] - ratios[rows, 1 - y]).mean()), rel=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_the_loss_is_that_of_trl(tmp_path, data):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    model = moved(0.2)
    x, y = (part[:6] for part in task("gpt2-dpo-hh").load().train)
    from transformers import GPT2LMHeadModel

    def theirs(part):
        whole = GPT2LMHeadModel.from_pretrained(data / "gpt2")
        whole.transformer.load_state_dict(part.state_dict(), strict=False)
        return whole

    def ids(codes):
        prompt = [int(-1 - code) for code in codes[: int((codes >= 0).nonzero().min())]]
        return prompt, [int(code) for code in codes if code >= 0]

    examples = []
    for pair, preferred in zip(x, y, strict=True):
        prompt, chosen = ids(pair[preferred])
        examples.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": ids(pair[1 - preferred])[1]})
    rows = datasets.Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}] * 2)
    trainer = trl.DPOTrainer(
        model=theirs(model.policy), ref_model=theirs(model.reference), train_dataset=rows,
        args=trl.DPOConfig(output_dir=str(tmp_path), beta=0.2, report_to=[], use_cpu=True, bf16=False),
        processing_class=gpt2.tokenizer(),
    )  # fmt: skip
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    batch = DataCollatorForPreference(pad_token_id=0)(examples)
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model.eval(), batch)
        ours = F.cross_entropy(model.eval()(x), y)
    assert float(ours) == pytest.approx(float(loss), rel=1e-4)
    kept = trainer._metrics["eval"]
    assert margins(model, (x, y))["margin"] == pytest.approx(kept["rewards/margins"][0], rel=1e-3)
    logits = model(x)
    assert float((logits.argmax(1) == y).float().mean()) == pytest.approx(kept["rewards/accuracies"][0])


def test_gpt2_has_124_million_parameters():
    config = transformers.GPT2Config()
    with torch.device("meta"):
        model = gpt2.from_config(config, Factory(nl.activation("gelu_tanh")))
        other = gpt2.from_config(config, Factory(nl.activation("crrelu"), per="tensor"))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == gpt2.PARAMETERS == 124_439_808
    assert sum(parameter.numel() for parameter in other.parameters()) == count + 12  # one epsilon for each block


def test_the_reference_stays_and_beta_is_in_the_name():
    model = Preference(gpt2.pretrained(Factory(nl.activation("crrelu"))))
    assert not any(parameter.requires_grad for parameter in model.reference.parameters())
    assert all(parameter.requires_grad for parameter in model.policy.parameters())
    model.train()
    assert model.policy.training
    assert not model.reference.training
    assert dpo_task("gpt2-dpo-hh", 0.5).name == "gpt2-dpo-hh:beta=0.5"


@pytest.mark.parametrize("name", BOTH)
def test_what_is_missing_is_one_error(name, tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    chosen = dataclasses.replace(task(name), remark="not loaded before")
    assert not is_there(chosen)
    with pytest.raises(TaskError, match=f"nonlin tasks --download {name}") as caught:
        chosen.load()
    assert "GPT-2, which is not in" in str(caught.value)


def test_a_download_without_a_network_is_one_error(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import OfflineModeIsEnabled

    def refuse(*arguments, **settings):
        raise OfflineModeIsEnabled("offline mode is on")

    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(TaskError, match="stanfordnlp/SHP could not be downloaded from Hugging Face"):
        task("gpt2-dpo-shp").data.download()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"labels": 2, "history": "", "human_ref_A": "", "human_ref_B": ""}\n', "labels=2, where SHP has 1"),
        (b'{"labels": 1}\n', "row without text in 'history'"),
        (b'{"labels": 1\n', "line 1: no JSON object on one line"),
        (b"[1]\n", "line 1: expected a JSON object"),
        (b"\xff\xfe\n", "cannot read"),
    ],
    ids=["label", "column", "cut", "list", "bytes"],
)
def test_bad_files_are_one_error(content, message, tmp_path):
    path = tmp_path / "train.json"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=message):
        list(shp_pairs(path))


def test_a_cut_off_gzip_file(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, hh_rows(50))).encode())[:-30])
    with pytest.raises(TaskError, match="was not copied to its end"):
        list(hh_pairs(path))


def test_another_model_in_the_folder(tmp_path, monkeypatch, data):
    import shutil

    shutil.copytree(data / "gpt2", tmp_path / "gpt2")
    config = json.loads((tmp_path / "gpt2" / "config.json").read_text())
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    with pytest.raises(TaskError, match="holds a model of type 'bert', expected 'gpt2'"):
        gpt2.pretrained(Factory(nl.activation("relu")))


def test_tokens_are_kept(data, monkeypatch):
    first = dataclasses.replace(task("gpt2-dpo-shp"), remark="first").load()
    monkeypatch.setattr(gpt2, "tokenizer", None)  # cannot be called
    again = dataclasses.replace(task("gpt2-dpo-shp"), remark="again").load()
    assert np.array_equal(first.train[0], again.train[0])
    for path in (data / "prepared").glob("shp-*.pt"):
        path.write_bytes(b"damaged")
    monkeypatch.undo()
    monkeypatch.setenv("NONLIN_DATA", str(data))
    third = dataclasses.replace(task("gpt2-dpo-shp"), remark="third").load()
    assert np.array_equal(first.train[0], third.train[0])


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nonlin\[hf\]'"):
        gpt2.pretrained(Factory(nl.activation("relu")))


def test_the_pages_example(monkeypatch):
    import re
    from pathlib import Path

    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[2]
    small = dataclasses.replace(task("gpt2-dpo-hh").budget, steps=1, batch_size=4, device="cpu")
    monkeypatch.setattr("nonlin.tasks.language.dpo._BUDGET", small)
    exec(f"import nonlin as nl\n{block}".replace("nl.fit(", "outcome = nl.fit("), namespace := {})
    assert namespace["outcome"].status == "ok"
