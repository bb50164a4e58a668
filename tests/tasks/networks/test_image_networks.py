"""The image networks: sizes as published, depth by count, shapes, scale in every BatchNorm, and timm as a witness."""

import math
from functools import partial

import pytest
import torch
from torch import nn

import nonlin as nl
from nonlin.native.module import ActivationModule
from nonlin.nn.initialise import layers_after_activations
from nonlin.tasks import TASKS, Factory
from nonlin.tasks.networks.densenet import build_densenet
from nonlin.tasks.networks.resnet import build_resnet20, build_resnet164
from nonlin.tasks.networks.tnt import build_tnt_small
from nonlin.tasks.networks.vit import build_deit_tiny, build_vit_tiny
from nonlin.tasks.networks.wide_resnet import build_wide_resnet
from nonlin.tasks.pictures.papers import IMAGE_TASKS

RELU, SWISH = (Factory(nl.activation(name)) for name in ("relu", "swish"))
LARGE = {"classes": 1000, "size": 224, "patch": 16}  # ImageNet's pictures and classes

# name: (build, parameters in millions as printed, layers in the longest chain or None, activations)
PUBLISHED = {
    "ResNet-20": (build_resnet20, "0.27", 20, 19),  # He 2015, table 6
    "ResNet-164": (build_resnet164, "1.7", 164, 163),  # He 2016, table 4
    "WRN-28-10": (
        build_wide_resnet,
        "36.5",
        26,
        25,
    ),  # Zagoruyko 2016, table 4; counts shortcuts too, not the classifier
    "DenseNet-100-12": (build_densenet, "7.0", 100, 99),  # Huang 2016, table 2
    "DenseNet-BC-100-12": (partial(build_densenet, bottleneck=True), "0.8", 100, 99),  # the same
    "ViT-Tiny": (partial(build_vit_tiny, **LARGE), "5.7", None, 12),
    "DeiT-Tiny": (partial(build_deit_tiny, **LARGE), "5.7", None, 12),
    "DeiT-Tiny, distilled": (partial(build_deit_tiny, distilled=True, **LARGE), "5.9", None, 12),
    "TNT-S": (partial(build_tnt_small, **LARGE), "23.8", None, 24),  # Han 2021, table 1
}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(build, factory=RELU) -> nn.Module:
    with torch.device("meta"):
        return build(factory)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    build, printed, layers, activations = PUBLISHED[name]
    model = on_meta(build)
    places = len(printed.split(".")[1])
    assert f"{parameters(model) / 1e6:.{places}f}" == printed
    assert len([part for part in model.modules() if isinstance(part, ActivationModule)]) == activations
    if layers:
        weighted = [name for name, part in model.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
        assert len([name for name in weighted if "shortcut" not in name]) == layers
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d | nn.LayerNorm)]
    assert norms
    assert all(part.weight is not None and part.weight.requires_grad for part in norms)


@pytest.mark.parametrize("task", IMAGE_TASKS, ids=lambda task: task.name)
def test_sizes_in_the_list(task):
    assert parameters(on_meta(task.build)) == task.parameters


@pytest.mark.parametrize("build", [build_resnet20, partial(build_densenet, depth=10), build_vit_tiny])
def test_parameters_per_channel(build):
    channels = [part.beta.shape[0] for part in on_meta(build, SWISH).modules() if isinstance(part, ActivationModule)]
    assert min(channels) >= 16
    assert parameters(on_meta(build, SWISH)) == parameters(on_meta(build)) + sum(channels)


SMALL = {
    "resnet20": partial(build_resnet20, blocks=1),
    "resnet164": partial(build_resnet164, blocks=1),
    "wide": partial(build_wide_resnet, depth=10, widening=1),
    "dense": partial(build_densenet, depth=10),
    "dense-bc": partial(build_densenet, depth=16, bottleneck=True),
    "vit": build_vit_tiny,
    "deit": partial(build_deit_tiny, distilled=True),
}


@pytest.mark.parametrize("name", SMALL)
def test_shapes_and_gradients(name):
    torch.manual_seed(0)
    model = SMALL[name](SWISH, classes=7)
    if name == "deit":
        model.eval()  # blocks that are left out have no gradients
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    logits.logsumexp(1).sum().backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None, label
        assert bool(torch.isfinite(parameter.grad).all()), label
        assert bool(parameter.grad.any()), label


def test_the_size_of_images_inside():
    """Half as large at each stage: 32, 16, 8."""
    seen: list[int] = []
    for name in ("resnet20", "resnet164", "wide", "dense", "dense-bc"):
        seen.clear()
        model = SMALL[name](RELU)
        for part in model.modules():
            if isinstance(part, ActivationModule):
                part.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2]))
        model(torch.randn(2, 3, 32, 32))
        assert list(dict.fromkeys(seen)) == [32, 16, 8]


def test_he_initialisation():
    torch.manual_seed(0)
    model = build_wide_resnet(RELU, depth=10, widening=4).requires_grad_(False)
    for part in model.modules():
        if isinstance(part, nn.Conv2d) and part.weight.numel() > 5_000:
            fan_out = part.out_channels * part.kernel_size[0] ** 2
            assert float(part.weight.var()) == pytest.approx(2 / fan_out, rel=0.1)
        if isinstance(part, nn.BatchNorm2d):
            assert bool((part.weight == 1).all())
            assert not bool(part.bias.any())
    for network in (build_vit_tiny, partial(build_tnt_small, blocks=1)):
        made = network(RELU).requires_grad_(False)
        for name, value in made.named_parameters():
            if value.dim() > 1 and value.numel() > 5_000:
                assert float(value.std()) == pytest.approx(0.02, rel=0.1), name
            elif name.endswith("bias"):
                assert not bool(value.any()), name


def test_layers_that_a_gain_scales():
    """Every layer but the first, those after attention and the heads follows an activation."""
    dense = build_densenet(RELU, depth=10)
    followers = layers_after_activations(dense, torch.randn(2, 3, 32, 32))
    weighted = [name for name, part in dense.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert followers == weighted[1:]
    vit = build_vit_tiny(RELU)
    assert layers_after_activations(vit, torch.randn(2, 3, 32, 32)) == [
        f"blocks.{block}.project" for block in range(12)
    ]


def test_stochastic_depth():
    torch.manual_seed(0)
    model = build_deit_tiny(RELU)
    rates = [block.drop for block in model.blocks]
    assert rates == pytest.approx([0.1 * index / 11 for index in range(12)])
    assert [block.drop for block in build_vit_tiny(RELU).blocks] == [0.0] * 12
    last = model.blocks[-1]
    changes = torch.ones(4000, 3, 2)
    kept = last._kept(changes)
    values = kept[:, 0, 0].unique().tolist()
    assert values == pytest.approx([0.0, 1 / 0.9])
    assert bool((kept == kept[:, :1, :1]).all())  # an image's whole change, or none of it
    assert float(kept.mean()) == pytest.approx(1, abs=4 * math.sqrt(0.1 / 0.9 / 4000))
    model.eval()
    assert last._kept(changes) is changes
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), model(images))


def test_a_distilled_network_gives_the_mean_of_two_heads():
    torch.manual_seed(0)
    model = build_deit_tiny(RELU, classes=5, distilled=True).eval()
    images = torch.randn(2, 3, 32, 32)
    whole = model(images)
    parts = []
    for index in range(2):
        head = model.heads[1 - index]
        kept = head.weight.clone()
        with torch.no_grad():
            head.weight.zero_()
            parts.append(2 * model(images))
            head.weight.copy_(kept)
    assert torch.allclose(whole, (parts[0] + parts[1]) / 2, atol=1e-6)
    assert not torch.allclose(parts[0], parts[1])


@pytest.fixture(scope="module")
def timm():
    from torchvision_stub import torchvision_or_stub

    with torchvision_or_stub():
        return pytest.importorskip("timm")


BLOCK = {
    "norm1": "attention_norm", "attn.qkv": "attention.split", "attn.proj": "attention.merge", "norm2": "norm",
    "mlp.fc1": "expand", "mlp.fc2": "project",
}  # fmt: skip


def renamed(state: dict, names: dict[str, str]) -> dict:
    """A state with every prefix of `names` replaced; each key by the longest that fits."""
    found = {}
    for key, value in state.items():
        old = max((old for old in names if key == old or key.startswith(f"{old}.")), key=len)
        found[names[old] + key.removeprefix(old)] = value
    return found


@pytest.mark.parametrize("distilled", [False, True])
def test_vit_gives_what_timm_gives(timm, distilled):
    torch.manual_seed(0)
    name = "deit_tiny_distilled_patch16_224" if distilled else "vit_tiny_patch16_224"
    theirs = timm.create_model(name, pretrained=False).eval()
    ours = build_deit_tiny(Factory(nl.activation("gelu")), distilled=distilled, **LARGE).eval()
    state = theirs.state_dict()
    tokens = [state.pop("cls_token")] + ([state.pop("dist_token")] if distilled else [])
    names = {"pos_embed": "positions", "patch_embed.proj": "embed", "norm": "norm", "head": "heads.0"}
    names |= {"head_dist": "heads.1"}
    names |= {f"blocks.{i}.{old}": f"blocks.{i}.{new}" for i in range(12) for old, new in BLOCK.items()}
    ours.load_state_dict(renamed(state, names) | {"tokens": torch.cat(tokens, dim=1)})
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-4)


def test_tnt_gives_what_timm_gives(timm):
    torch.manual_seed(0)
    theirs = timm.create_model("tnt_s_legacy_patch16_224", pretrained=False).eval()
    ours = build_tnt_small(Factory(nl.activation("gelu")), **LARGE).eval()
    state = theirs.state_dict()
    for i in range(12):
        for side in ("in", "out"):  # queries and keys, then values
            parts = [state.pop(f"blocks.{i}.attn_{side}.{part}.weight") for part in ("qk", "v")]
            state[f"blocks.{i}.attn_{side}.qkv.weight"] = torch.cat(parts)
    state["pixel_pos"] = state["pixel_pos"].flatten(2).transpose(1, 2)
    names = {
        "pixel_pos": "word_positions", "pixel_embed.proj": "embed", "norm1_proj": "join.0", "proj": "join.1",
        "norm2_proj": "join.2", "cls_token": "tokens", "patch_pos": "positions", "norm": "norm", "head": "head",
    }  # fmt: skip
    for i in range(12):
        names |= {f"blocks.{i}.norm1_proj": f"blocks.{i}.norm", f"blocks.{i}.proj": f"blocks.{i}.join"}
        for old, new in (("norm_in", "norm1"), ("attn_in.qkv", "attn.qkv"), ("attn_in.proj", "attn.proj"),
                         ("norm_mlp_in", "norm2"), ("mlp_in.fc1", "mlp.fc1"), ("mlp_in.fc2", "mlp.fc2")):  # fmt: skip
            names[f"blocks.{i}.{old}"] = f"blocks.{i}.inner.{BLOCK[new]}"
            outer = old.replace("norm_in", "norm_out").replace("attn_in", "attn_out").replace("mlp_in", "mlp")
            names[f"blocks.{i}.{outer}"] = f"blocks.{i}.outer.{BLOCK[new]}"
    ours.load_state_dict(renamed(state, names))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-4)


def test_budgets_as_published():
    budget = {name: TASKS[f"cifar10-{name}"].budget for name in ("resnet20", "resnet164", "wrn28x10", "densenet100x12")}
    assert budget["resnet20"].steps == 10_000
    assert (budget["resnet164"].steps, budget["resnet164"].batch_size) == (64_000, 128)
    assert [share * 64_000 for share in budget["resnet164"].milestones] == [32_000, 48_000]
    assert [share * budget["wrn28x10"].epochs for share in budget["wrn28x10"].milestones] == [60, 120, 160]
    assert [share * budget["densenet100x12"].epochs for share in budget["densenet100x12"].milestones] == [150, 225]
    assert (budget["wrn28x10"].weight_decay, budget["densenet100x12"].batch_size) == (5e-4, 64)
    assert all(one.optimizer == "sgd" and one.learning_rate == 0.1 for one in budget.values())
