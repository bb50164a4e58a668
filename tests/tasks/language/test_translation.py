"""`wmt14-transformer`: data in their true forms, padding that counts for nothing, beams against all sequences."""

import dataclasses
import itertools
import json

import pytest
import torch

import nonlin as nl
from nonlin.errors import MissingExtraError, TaskError
from nonlin.tasks import Factory, is_there, task
from nonlin.tasks.language.subwords import BEGIN, END
from nonlin.tasks.language.translation import IGNORED, sentence_pairs
from nonlin.tasks.networks.encoder_decoder import EncoderDecoder, translate
from nonlin.train import fit
from nonlin.train.score import decisions, evaluate

pytest.importorskip("tokenizers")

from language_files import sentences, wmt_rows, write_wmt_text

import nonlin.tasks.language.translation as translation

RELU = Factory(nl.activation("relu"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    write_wmt_text(place / "wmt14")
    return place


@pytest.fixture(autouse=True)
def data(folder, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(folder))
    monkeypatch.setattr(translation, "FILES", translation.TranslationFiles(pieces=300))
    return folder


def small(activation):
    return EncoderDecoder(activation, translation.FILES.tokenizer().get_vocab_size(), 32, 2, 64, 1, 0.0)


def small_task(**settings):
    chosen = task("wmt14-transformer")
    budget = dataclasses.replace(chosen.budget, device="cpu", **settings)
    return dataclasses.replace(chosen, build=small, data=translation.FILES, budget=budget)


def test_a_step_and_an_evaluation():
    outcome = fit(small_task(steps=1, epochs=1, batch_size=32), "swish", final=True)
    assert outcome.status == "ok", outcome.error
    assert outcome.curves["train_loss"][0] == pytest.approx(5.7, abs=0.6)  # log 300 pieces
    assert 0 <= outcome.measures["bleu"] < 20


def test_it_learns_word_by_word():
    chosen = small_task(
        steps=140, epochs=30, batch_size=32, learning_rate=6e-3, warmup=20, accumulate=1, evaluation_batch=64
    )
    outcome = fit(chosen, "relu", final=True)
    assert outcome.test_score > 0.6
    assert outcome.measures["bleu"] > 20
    assert outcome.loss < outcome.curves["loss"][0] / 2


def test_the_base_network_has_the_papers_size():
    with torch.device("meta"):
        model = EncoderDecoder(RELU, 37_000)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == task("wmt14-transformer").parameters == 63_082_496  # the paper says 65 million
    attention, norm, feed = 4 * (512 * 512 + 512), 2 * 512, 2 * 512 * 2048 + 512 + 2048
    assert count == 37_000 * 512 + 6 * (attention + feed + 2 * norm) + 6 * (2 * attention + feed + 3 * norm)


def test_what_data_becomes():
    found = translation.FILES()
    tokenizer = translation.FILES.tokenizer()
    assert [len(part[1]) for part in (found.train, found.validation, found.test)] == [150, 20, 20]
    x, y = found.train
    english, german = next(sentences(1, 0))
    assert tokenizer.decode([int(one) for one in x[0, 0] if one > END]) == english
    assert tokenizer.decode([int(one) for one in y[0] if one > END]) == german
    length = int((y[0] != IGNORED).sum())
    assert int(x[0, 1, 0]) == BEGIN
    assert x[0, 1, 1:length].tolist() == y[0, : length - 1].tolist()  # what comes before each piece
    assert int(y[0, length - 1]) == END


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_tables_hold_the_same(form, tmp_path):
    rows = wmt_rows(7, 3)
    if form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        (tmp_path / "de-en").mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "de-en" / "train-00000-of-00003.parquet")
    else:
        (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert list(sentence_pairs(tmp_path, "train")) == list(sentences(7, 3))


@torch.no_grad()
def test_filling_changes_nothing():
    torch.manual_seed(0)
    model = small(RELU).eval()
    x = translation.FILES().test[0][:6]
    wide = torch.zeros(6, 2, x.shape[2] + 9, dtype=x.dtype)
    wide[:, :, : x.shape[2]] = x
    together, filled = model(x), model(wide)
    assert filled.shape[1] == wide.shape[2]
    for row in range(6):
        length = int((x[row, 1] != 0).sum())
        alone = model(x[row : row + 1])[0, :length]
        for found in (together, filled):
            assert torch.allclose(found[row, :length], alone, atol=1e-5)


@torch.no_grad()
def test_no_position_sees_a_later_one():
    torch.manual_seed(0)
    model = small(RELU).eval()
    x = translation.FILES().test[0][:2].clone()
    before = model(x)[:, :3]
    x[:, 1, 3] = 7
    assert torch.allclose(model(x)[:, :3], before, atol=1e-6)
    assert not torch.allclose(model(x)[:, 3], before[:, 2])


@torch.no_grad()
def test_filling_does_not_count():
    torch.manual_seed(0)
    model = small(RELU).eval()
    x, y = translation.FILES().test
    loss, score = evaluate(model, x, y, batch_size=7)
    total = right = 0.0
    for source, target in zip(x, y, strict=True):
        kept = target != IGNORED
        scores = model(source[None])[0][kept].log_softmax(-1)
        total -= float(scores[torch.arange(len(scores)), target[kept]].sum())
        right += int((scores.argmax(-1) == target[kept]).sum())
    assert decisions(y) == int((y != IGNORED).sum())
    assert loss == pytest.approx(total / decisions(y), rel=1e-5)
    assert score == pytest.approx(right / decisions(y), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_wide_beam_finds_the_best_of_all(alpha):
    torch.manual_seed(3)
    model = EncoderDecoder(RELU, 6, 16, 2, 32, 1, 0.0).double().eval()
    model.embedding.weight *= 3  # clear preferences
    source = torch.tensor([[3, 4, END], [5, END, 0]])
    found = translate(model, source, BEGIN, END, beam=1300, alpha=alpha, more=1)  # length 3 + 1
    memory, mask = model.encode(source)
    for row in range(2):
        best, argument = -1e9, None
        for length in range(1, 5):
            for body in itertools.product([3, 4, 5], repeat=length):
                pieces = [*body[:-1], END]
                target = torch.tensor([[BEGIN, *pieces]])
                scores = model.decode(target[:, :-1], memory[row : row + 1], mask[row : row + 1]).log_softmax(-1)[0]
                value = float(sum(scores[place, piece] for place, piece in enumerate(pieces)))
                value /= ((5 + len(pieces)) / 6) ** alpha
                if value > best:
                    best, argument = value, pieces
        assert [int(one) for one in found[row] if one][: len(argument)] == argument


def test_what_is_missing_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    chosen = small_task()
    assert not is_there(chosen)
    with pytest.raises(TaskError, match="nonlin tasks --download wmt14-transformer"):
        translation.FILES()


def test_files_of_different_length(tmp_path):
    (tmp_path / "train.en").write_text("a\nb\nc\n")
    (tmp_path / "train.de").write_text("A\nB\n")
    with pytest.raises(TaskError, match="one of them ends after line 2"):
        list(sentence_pairs(tmp_path, "train"))


def test_tables_without_translations(tmp_path):
    (tmp_path / "train.json").write_text('{"text": "a"}\n')
    with pytest.raises(TaskError, match=r"has a row without \{'translation'"):
        list(sentence_pairs(tmp_path, "train"))


def test_without_tokenizers(monkeypatch):
    from nonlin.tasks.language import subwords

    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nonlin\[hf\]'"):
        subwords.learn(["a"], 300)
