"""The offline tasks' networks: sizes, shapes, activations in their places, and that children learn."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import nonlin as nl
from nonlin.native.module import ActivationModule
from nonlin.nn.initialise import layers_after_activations, match_gain
from nonlin.tasks import TASKS, Factory, data_title, task
from nonlin.tasks.language.text import corpus
from nonlin.train import fit
from nonlin.train.fit import evaluate, task_loss


def block_size(width: int, hidden: int) -> int:
    """Parameters of a block: two norms, split, merge, expand, project."""
    return 4 * width + (width + 1) * (3 * width + width + hidden) + (hidden + 1) * width


# name: (parameters with a function that has none, channels of each activation, layers that follow one)
NETWORKS = {
    "digits-mlp": (64 * 65 * 2 + 65 * 10, [64, 64], ["2", "4"]),
    "digits-cnn": (16 * 10 + 32 * 145 + 513 * 64 + 65 * 10, [16, 32, 64], ["2", "6", "8"]),
    "digits-vit": (
        5 * 32 + 16 * 32 + 3 * block_size(32, 64) + 64 + 33 * 10,
        [64, 64, 64],
        [f"blocks.{index}.project" for index in range(3)],
    ),
    "tabular-cancer": (31 * 32 + 33 * 32 + 33 * 2, [32, 32], ["2", "4"]),
    "chars-gpt": (
        corpus().codes * 64 * 2 + 64 * 64 + 2 * block_size(64, 256) + 2 * 64,
        [256, 256],
        ["blocks.0.project", "blocks.1.project"],
    ),
}
NEW = [name for name in NETWORKS if name != "digits-mlp"]  # digits-mlp is what all other tests train


def model_of(name: str, function: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return task(name).model(Factory(nl.activation(function)))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_every_task_whose_data_is_here_is_tested():
    here = [name for name, one in TASKS.items() if not data_title(one)]
    assert set(here) - set(NETWORKS) == set(), "write the sizes of these into NETWORKS above"
    assert set(here) - {"digits-mlp"} - set(SHORT) == set(), "write how soon these learn into SHORT below"
    assert here == list(TASKS)[: len(here)], "those that need no download come first in nonlin.tasks"
    assert all(one.remark and "\n" not in one.remark for one in TASKS.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name):
    plain, channels, _ = NETWORKS[name]
    assert count(model_of(name, "relu")) == plain
    swish = model_of(name, "swish")
    assert count(swish) == plain + sum(channels)
    assert [part.beta.shape for part in swish.modules() if isinstance(part, ActivationModule)] == [
        (size,) for size in channels
    ]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("function", ["relu", "swish", "sigmoid"])
def test_forward_and_backward(name, function):
    data = task(name).load()
    x, y = (part[:3] for part in data.train)
    model = model_of(name, function)
    output = model(x)
    assert output.shape == (*y.shape, data.classes)
    output.logsumexp(dim=-1).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_gain_reaches_the_layers_after_activations_alone(name):
    chosen = task(name)
    example = chosen.load().train[0][:2]
    model, scaled = (model_of(name, "tanh") for _ in range(2))
    expected = NETWORKS[name][2]
    assert layers_after_activations(model, example) == expected
    assert match_gain(scaled, nl.activation("tanh"), example, nl.activation(chosen.designed_for)) == expected
    factor = nl.gain("tanh") / nl.gain(chosen.designed_for)
    assert abs(factor - 1) > 0.01
    before = dict(model.named_parameters())
    for label, parameter in scaled.named_parameters():
        follows = any(label == f"{layer}.weight" for layer in expected)
        assert torch.allclose(parameter, before[label] * (factor if follows else 1.0)), label


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "chars-gpt"])
def test_activations_receive_about_unit_variance(name):
    """The condition under which gains are measured; GPT-2's initialisation has a smaller one."""
    model = model_of(name, task(name).designed_for)
    sizes = []
    for part in model.modules():
        if isinstance(part, ActivationModule):
            part.register_forward_hook(lambda module, inputs, output: sizes.append(float(inputs[0].square().mean())))
    with torch.no_grad():
        model(task(name).load().train[0][:200])
    assert min(sizes) > 0.3  # zeros at the borders of images, and pooling by the mean, take some
    assert max(sizes) < 1.5


def test_gpt2_initialisation():
    model = model_of("chars-gpt", "relu").requires_grad_(False)
    std = 0.02 * math.sqrt(768 / 64)
    block = model.blocks[1]
    for layer in (model.embed, model.head, block.expand, block.attention.split):
        assert float(layer.weight.std()) == pytest.approx(std, rel=0.05)
    for layer in (block.project, block.attention.merge):
        assert float(layer.weight.std()) == pytest.approx(std / 2, rel=0.05)
        assert float(layer.bias.abs().max()) == 0
    # about ln(codes) nats: nothing is known yet
    x, y = (part[:20] for part in task("chars-gpt").load().train)
    loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    assert loss == pytest.approx(math.log(corpus().codes), abs=0.5)


def test_gpt_is_causal():
    model = model_of("chars-gpt", "gelu")
    x = task("chars-gpt").load().train[0][:2].clone()
    before = model(x)
    x[:, 40] = (x[:, 40] + 1) % corpus().codes
    after = model(x)
    assert torch.equal(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40], after[:, 40])
    assert not torch.allclose(before[:, 63], after[:, 63])
    assert torch.allclose(model(x[:, :10]), after[:, :10], atol=1e-5)  # shorter texts are welcome


def test_loss_and_score_of_all_positions():
    logits = torch.randn(3, 5, 7)
    y = torch.randint(0, 7, (3, 5))
    likelihoods = logits.log_softmax(dim=-1)
    mean = sum(-likelihoods[row, place, y[row, place]].item() for row in range(3) for place in range(5)) / 15
    right = sum(int(logits[row, place].argmax()) == int(y[row, place]) for row in range(3) for place in range(5)) / 15
    assert task_loss(logits, y).item() == pytest.approx(mean, rel=1e-5)
    assert evaluate(nn.Identity(), logits, y) == pytest.approx((mean, right), rel=1e-5)
    # torch's own order, (rows, classes, positions), is understood as before
    assert evaluate(nn.Identity(), logits.transpose(1, 2), y) == pytest.approx((mean, right), rel=1e-5)


def test_vit_sees_where_patches_lie():
    model = model_of("digits-vit", "gelu")
    x = task("digits-vit").load().train[0][:2]
    patches = model.patches(x)
    assert torch.equal(patches[0, 5], x[0, 0, 2:4, 2:4].flatten())
    assert not torch.allclose(model(x), model(x.flip(-1)), atol=1e-3)


@pytest.mark.parametrize("name", NEW)
def test_runs_under_vmap(name):
    """Losses and gradients of stacked children equal those of the children one by one."""
    data = task(name).load()
    x, y = (part[:4] for part in data.train)
    children = [model_of(name, "swish", seed) for seed in range(2)]
    stacked, _ = torch.func.stack_module_state(children)

    def loss(parameters):
        logits = torch.func.functional_call(children[0], parameters, (x,))
        return nn.functional.cross_entropy(logits.flatten(0, -2), y.flatten())

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule: vmap would loop, with a warning
        gradients, losses = torch.func.vmap(torch.func.grad_and_value(loss))(stacked)
    for index, child in enumerate(children):
        alone = loss(dict(child.named_parameters()))
        alone.backward()
        assert losses[index].item() == pytest.approx(alone.item(), rel=1e-4)
        for label, parameter in child.named_parameters():
            assert torch.allclose(gradients[label][index], parameter.grad, atol=1e-4, rtol=1e-3), label


def shortened(name: str, rows: int, epochs: int) -> nl.Task:
    """The task with fewer training rows and epochs."""
    chosen = task(name)
    data = chosen.load()
    part = tuple(tensor[:rows] for tensor in data.train)
    validation = tuple(tensor[:100] for tensor in data.validation)
    budget = dataclasses.replace(chosen.budget, epochs=epochs)
    return dataclasses.replace(chosen, data=nl.Data(part, validation, validation), budget=budget)


# name: training rows, epochs, validation accuracy that a child reaches so soon (chance: 0.1; 0.63; spaces: 0.18)
SHORT = {
    "digits-cnn": (1077, 3, 0.9),
    "digits-vit": (1077, 4, 0.75),
    "tabular-cancer": (341, 8, 0.93),
    "chars-gpt": (500, 2, 0.22),
}


@pytest.mark.parametrize("name", NEW)
def test_a_child_learns_and_is_the_same_for_the_same_seed(name):
    rows, epochs, least = SHORT[name]
    short = shortened(name, rows, epochs)
    first = fit(short, "swish", seed=1)
    assert (first.status, first.error) == ("ok", "")
    assert first.score > least
    assert first.curves["loss"][-1] < first.curves["loss"][0]
    shorter = shortened(name, rows // 4, 1)
    one, same, other = (fit(shorter, "swish", seed=seed) for seed in (1, 1, 2))
    assert (one.loss, one.score, one.parameters) == (same.loss, same.score, same.parameters)
    assert other.loss != one.loss


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("function", ["relu", "sigmoid"])
def test_functions_without_parameters(name, function):
    outcome = fit(shortened(name, 128, 1), function)
    assert (outcome.status, outcome.parameters) == ("ok", {})
