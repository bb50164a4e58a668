"""Hugging Face: activations by the text in a config, and swapping in models of transformers."""

import json
import math
import subprocess
import sys

import pytest
import torch
import two_processes
from two_processes import batch, made, outputs, train

import nonlin as nl
from nonlin.errors import MissingExtraError, NonlinError
from nonlin.integrations import hf
from nonlin.native.module import ActivationModule

KINDS = ("vit", "gpt2")


@pytest.fixture
def transformers():
    library = pytest.importorskip("transformers")
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    return library


def acts(model):
    return [module for module in model.modules() if isinstance(module, ActivationModule)]


def logits(model, kind):
    word, given, _ = batch(kind, 7)
    with torch.no_grad():
        return outputs(model.eval(), word, given)


def field(kind):
    return "activation_function" if kind == "gpt2" else "hidden_act"


# The text of a config


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("swish", "nonlin:swish"),
        ("SiLU", "nonlin:silu"),
        ("nonlin:x*tanh(k*x)", "nonlin:x*tanh(k*x)"),
        ("nonlin:swish; beta=2", "nonlin:swish; beta=2.0"),
        ("nonlin:swish; channels=3; dim=1", "nonlin:swish; channels=3; dim=1"),
        (nl.activation("swish", beta=0.5), "nonlin:swish; beta=0.5"),
        (nl.activation("x*tanh(k*x)", k=0.1), "nonlin:x*tanh(k*x); k=0.1"),
    ],
)
def test_text_and_module(given, text):
    assert hf.name(given) == text
    assert hf.name(text) == text
    module = hf.module(text)
    act = nl.activation(given) if "nonlin:" not in str(given) else None
    if act is not None:
        assert module.expr == act.expr
        assert {name: p.item() for name, p in module.named_parameters()} == pytest.approx(act.parameters)
    assert (module.channels or 1, module.dim) == ((3, 1) if "channels" in text else (1, module.dim))


def test_channels():
    assert hf.name("prelu", channels=32) == "nonlin:prelu; channels=32"
    module = hf.module("nonlin:prelu; channels=32")
    assert [p.shape for p in module.parameters()] == [(32,)]
    assert module(torch.zeros(2, 5, 32)).shape == (2, 5, 32)


def test_names_of_this_process_are_written_out(monkeypatch):
    monkeypatch.setattr(nl.zoo.catalogue, "_KEYS", nl.zoo.catalogue._KEYS)
    known = nl.zoo.catalogue.catalogue()
    monkeypatch.setattr(known, "entries", dict(known.entries))
    monkeypatch.setattr(known, "_keys", dict(known._keys))
    nl.register("only_here", "x*tanh(a*x)", parameters={"a": 0.3})
    assert hf.name("only_here") == "nonlin:x*tanh(a*x); a=0.3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonlin:swihs", r"'nonlin:swihs' of a model's config: unknown activation.*Did you mean 'swish'.*nl\.register"),
        ("nonlin:x*tnh(x)", "Did you mean 'tanh'"),
        ("nonlin:swish; gamma=1", "swish has no parameter 'gamma'; it has: beta"),
        ("nonlin:swish; beta=half", "cannot read 'beta=half'.*expected a parameter and a number"),
        ("nonlin:swish; channels=0", "'nonlin:swish; channels=0'.*whole number above 0"),
    ],
)
def test_errors_say_what_to_do(text, message):
    for ask in (hf.module, hf.name, nl.hf.register):
        with pytest.raises(NonlinError, match=f"(?s){message}"):
            ask(text)


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nonlin\[hf\]'"):
        nl.hf.register()


# The table of transformers


def test_the_table(transformers):
    from transformers.activations import ACT2CLS, ACT2FN, GELUActivation, get_activation

    assert nl.hf.register("x*tanh(x)", nl.activation("swish", beta=0.5)) == [
        "nonlin:x*tanh(x)",
        "nonlin:swish; beta=0.5",
    ]
    nl.hf.register()  # once more changes nothing
    for name in nl.zoo.names():
        assert ACT2FN[f"nonlin:{name}"].label == name
        assert ACT2CLS[f"nonlin:{name}"]().label == name
    assert ACT2FN["nonlin:swish"] is not ACT2FN["nonlin:swish"]
    assert isinstance(get_activation("nonlin:x*tanh(k*x)"), ActivationModule)
    assert ACT2CLS["nonlin:x*tanh(x)"]().label == "x*tanh(x)"
    assert isinstance(ACT2FN["gelu"], GELUActivation)
    assert "nonlin:anything" in ACT2FN
    for unknown in ("swihs", "nonlinear"):
        assert unknown not in ACT2FN
        with pytest.raises(KeyError):
            ACT2FN[unknown]
    with pytest.raises(NonlinError, match="Did you mean 'swish'"):
        made("gpt2", "swihs")


# Models from a config


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("ours", "theirs"), [("gelu", "gelu"), ("swish", "silu"), ("gelu_tanh", "gelu_new")])
def test_the_same_function_as_their_own(transformers, kind, ours, theirs):
    mine, other = made(kind, ours), made(kind, theirs, how="plain")
    torch.testing.assert_close(logits(mine, kind), logits(other, kind), rtol=1e-4, atol=1e-6)
    assert len(acts(mine)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded(transformers, kind, tmp_path):
    model = made(kind, "x*sigmoid(beta*x) + 0.1*sin(k*x)")
    train(model, kind)
    values = [p.item() for module in acts(model) for p in module.parameters()]
    assert all(value != 1 for value in values)
    expected = logits(model, kind)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())[field(kind)].startswith("nonlin:x*sigmoid")
    loaded = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(loaded, kind), expected, rtol=0, atol=0)
    assert [p.item() for module in acts(loaded) for p in module.parameters()] == values


FRESH = """
import sys, torch
import nonlin as nl
nl.hf.register()
from transformers import AutoModelForCausalLM, AutoModelForImageClassification
for kind, folder in zip(("vit", "gpt2"), sys.argv[1:], strict=True):
    auto = AutoModelForCausalLM if kind == "gpt2" else AutoModelForImageClassification
    model = auto.from_pretrained(folder).eval()
    word, given = torch.load(folder + "/batch.pt")
    with torch.no_grad():
        torch.save(model(**{word: given}).logits, folder + "/out.pt")
"""


def test_loaded_in_a_fresh_process(transformers, tmp_path):
    expected = {}
    for kind in KINDS:
        model = made(kind, "swish")
        train(model, kind)
        expected[kind] = logits(model, kind)
        model.save_pretrained(tmp_path / kind)
        torch.save(batch(kind, 7)[:2], tmp_path / kind / "batch.pt")
    folders = [str(tmp_path / kind) for kind in KINDS]
    done = subprocess.run([sys.executable, "-c", FRESH, *folders], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind in KINDS:
        torch.testing.assert_close(torch.load(tmp_path / kind / "out.pt"), expected[kind], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_another_activation(transformers, kind, tmp_path):
    """Its weights are kept, and parameters that it does not have start at their initial values."""
    old = made(kind, "gelu", how="plain")
    old.save_pretrained(tmp_path)
    width = 64 if kind == "gpt2" else 32
    text = nl.hf.name(nl.activation("x*sigmoid(beta*x) + c*x", beta=0.5, c=-0.25), channels=width)
    new = type(old).from_pretrained(tmp_path, **{field(kind): text})
    for module in acts(new):
        assert torch.equal(module.beta, torch.full((width,), 0.5))
        assert torch.equal(module.c, torch.full((width,), -0.25))
    state = new.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in old.state_dict().items())
    train(new, kind)
    new.save_pretrained(tmp_path / "again")
    again = type(old).from_pretrained(tmp_path / "again")  # and are not reset where the checkpoint has them
    torch.testing.assert_close(logits(again, kind), logits(new, kind), rtol=0, atol=0)


def test_half_precision_and_checkpointing(transformers, tmp_path):
    made("gpt2", "swish").save_pretrained(tmp_path)
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    word, given, _ = batch("gpt2", 0)
    gradients = []
    for checkpointing in (False, True):
        model = made("gpt2", "swish").train()
        if checkpointing:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        outputs(model, word, given).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_generation(transformers):
    model = made("gpt2", "swish").eval()
    text = model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    with torch.no_grad():  # the cache changes nothing
        for place in range(3, text.shape[1]):
            assert text[0, place] == model(text[:, :place]).logits[0, -1].argmax()


# Swapped models


@pytest.mark.parametrize("kind", KINDS)
def test_a_swapped_model_is_the_one_of_the_config(transformers, kind, tmp_path):
    swapped = made(kind, "swish", how="swap")
    wanted = made(kind, "swish")
    wanted.load_state_dict(swapped.state_dict())
    torch.testing.assert_close(logits(swapped, kind), logits(wanted, kind), rtol=0, atol=0)
    losses = train(swapped, kind)
    assert all(math.isfinite(loss) for loss in losses)
    setattr(swapped.config, field(kind), "nonlin:swish")  # the config must learn of it to save it
    swapped.save_pretrained(tmp_path)
    loaded = type(swapped).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(loaded, kind), logits(swapped, kind), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_over(transformers, kind):
    model = made(kind, "gelu", how="plain")
    word, given, _ = batch(kind, 0)
    assert nl.swap(model, "mish", example={word: given}).skipped == []


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss(transformers, kind, monkeypatch):
    monkeypatch.setattr(two_processes, "STEPS", 30)
    monkeypatch.setattr(two_processes, "batch", lambda kind, step: batch(kind, 0))
    losses = train(made(kind, "swish", how="swap"), kind)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
@pytest.mark.parametrize("how", ["config", "swap"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_compiled_graph(transformers, kind, how):
    torch.compiler.reset()
    model = made(kind, "swish", how=how).eval()
    word, given, _ = batch(kind, 0)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    results = []
    for run in (model, compiled):
        model.zero_grad()
        out = outputs(run, word, given)
        out.square().mean().backward()
        results.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_exported_program(transformers, kind):
    model = made(kind, "swish", how="swap").eval()
    model.config.use_cache = False
    word, given, _ = batch(kind, 0)
    program = torch.export.export(model, (), {word: given}).module()
    torch.testing.assert_close(outputs(program, word, given.flip(0)), outputs(model, word, given.flip(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_autocast(transformers, kind):
    model = made(kind, "swish", how="swap").eval()
    word, given, _ = batch(kind, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = outputs(model, word, given)
        half.float().square().mean().backward()
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), outputs(model, word, given), rtol=0.05, atol=0.02)
    for module in acts(model):
        assert module.beta.grad.dtype == torch.float32
        assert torch.isfinite(module.beta.grad)


def saved(model, kind):
    """Bytes that the forward pass keeps for the backward pass, each storage once."""
    word, given, _ = batch(kind, 0)
    sizes = {}
    keep = lambda t: sizes.__setitem__(t.data_ptr(), t.numel() * t.element_size()) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        outputs(model, word, given)
    return sum(sizes.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("act", "builtin", "parameters"), [("gelu", "gelu", 0), ("mish", "mish", 0), ("swish", "silu", 1)]
)
def test_memory_is_that_of_the_builtin_function(transformers, kind, act, builtin, parameters):
    usual = made(kind, builtin, how="plain")
    before = saved(usual, kind)
    nl.swap(usual, act)
    assert saved(usual, kind) == before + 2 * 4 * parameters  # and the parameter of each of two layers, 4 bytes


def test_memory_is_less_than_that_of_a_composite(transformers):
    assert saved(made("gpt2", "gelu_tanh"), "gpt2") < 0.75 * saved(made("gpt2", "gelu_new", how="plain"), "gpt2")


def test_a_blend_ends_as_a_model_that_saves(transformers, tmp_path):
    model = made("gpt2", "gelu", how="plain")
    start = logits(model, "gpt2")
    nl.swap(model, "swish", blend=two_processes.STEPS)
    torch.testing.assert_close(logits(model, "gpt2"), start)
    train(model.train(), "gpt2")
    assert len(nl.nn.finish_blends(model)) == 2
    model.config.activation_function = "nonlin:swish"
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(loaded, "gpt2"), logits(model, "gpt2"), rtol=0, atol=0)


def test_the_reference_of_these_tests(transformers):
    """`logits` sees an activation at all: another one gives other numbers."""
    assert not torch.allclose(logits(made("vit", "gelu"), "vit"), logits(made("vit", "relu"), "vit"))
