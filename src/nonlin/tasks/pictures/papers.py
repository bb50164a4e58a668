"""The image tasks of the papers: CIFAR-10, CIFAR-100 and ImageNet-1K, with the networks the papers name.

`cifar10-resnet20` is the child of the search for Swish; ResNet-164, WRN-28-10 and DenseNet-100-12 are where its
findings were tried [Ramachandran2017]; ViT-Tiny, DeiT-Tiny and TNT-Small are CRReLU's [Sun2024]. Which setting is
published and which is our choice stands in docs/tasks.md, and here beside each budget.

References
----------
[Ramachandran2017] P. Ramachandran, B. Zoph, Q. V. Le, "Searching for activation functions", 2017
    (arXiv:1710.05941)
[Sun2024] H. Sun et al., "A method on searching better activation functions", 2024 (arXiv:2405.12954)
[He2016] K. He et al., "Identity mappings in deep residual networks", 2016 (arXiv:1603.05027), appendix
[Zagoruyko2016] S. Zagoruyko, N. Komodakis, "Wide residual networks", 2016 (arXiv:1605.07146), section 3
[Huang2016] G. Huang et al., "Densely connected convolutional networks", 2016 (arXiv:1608.06993), section 4
[Touvron2020] H. Touvron et al., "Training data-efficient image transformers & distillation through
    attention", 2020 (arXiv:2012.12877), table 9
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from nonlin.tasks.budget import Budget
from nonlin.tasks.networks.densenet import build_densenet
from nonlin.tasks.networks.resnet import build_resnet20, build_resnet164
from nonlin.tasks.networks.tnt import build_tnt_small
from nonlin.tasks.networks.vit import build_deit_tiny, build_vit_tiny
from nonlin.tasks.networks.wide_resnet import build_wide_resnet
from nonlin.tasks.pictures.cifar import CifarFiles
from nonlin.tasks.pictures.imagenet import ImageNetFiles
from nonlin.tasks.task import Task

CIFAR_ROWS, IMAGENET_ROWS = 45_000, 1_229_920  # training rows, to tell steps from epochs

# 10,000 steps are published, the rest is ours: He's settings for ResNet-20, its rate cut at the same shares.
RESNET20 = Budget.of_steps(
    10_000, CIFAR_ROWS, batch_size=128, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, schedule="step",
    milestones=(0.5, 0.75),
)  # fmt: skip
# [He2016]: 64,000 steps, cut at 32,000 and 48,000; it begins with 400 steps at 0.01, here with a linear warm-up.
RESNET164 = Budget.of_steps(
    64_000, CIFAR_ROWS, batch_size=128, optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, schedule="step",
    milestones=(0.5, 0.75), warmup=400,
)  # fmt: skip
# [Zagoruyko2016] and its code: 200 epochs, times 0.2 after 60, 120 and 160.
WIDE = Budget(
    epochs=200, batch_size=128, optimizer="sgd", nesterov=True, learning_rate=0.1, weight_decay=5e-4, schedule="step",
    milestones=(0.3, 0.6, 0.8), decay=0.2,
)  # fmt: skip
# [Huang2016] and its code: 300 epochs, cut after 150 and 225.
DENSE = Budget(
    epochs=300, batch_size=64, optimizer="sgd", nesterov=True, learning_rate=0.1, weight_decay=1e-4, schedule="step",
    milestones=(0.5, 0.75),
)  # fmt: skip
# Ours throughout: after [Touvron2020], with the batch and the number of epochs that CIFAR allows.
CIFAR_TRANSFORMER = Budget(
    epochs=100, batch_size=256, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05, schedule="cosine",
    warmup=5 * 176, clip_norm=1.0,
)  # fmt: skip
# Optimiser, rate, decay, smoothing and warm-up of [Touvron2020] and its code; 100 epochs and clipping ours.
IMAGENET_TRANSFORMER = Budget(
    epochs=100, batch_size=1024, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05, schedule="cosine",
    warmup=5 * 1202, clip_norm=1.0, accumulate=4,
)  # fmt: skip

Build = Callable[..., nn.Module]
# name: (build, parameters for 10 classes and for 100, budget, what it is)
_CONVOLUTIONAL: dict[str, tuple[Build, tuple[int, int], Budget, str]] = {
    "resnet164": (build_resnet164, (1_703_258, 1_726_388), RESNET164, "pre-activation ResNet-164 with bottlenecks"),
    "wrn28x10": (build_wide_resnet, (36_479_194, 36_536_884), WIDE, "wide ResNet, 28 layers, 10 times as wide"),
    "densenet100x12": (build_densenet, (6_979_642, 7_084_852), DENSE, "DenseNet, 100 layers, growth 12, without BC"),
    "densenetbc100x12": (
        partial(build_densenet, bottleneck=True), (769_162, 800_032), DENSE, "DenseNet-BC, 100 layers, growth 12",
    ),
}  # fmt: skip
# name: (build, parameters for 10 classes, 100, and ImageNet; label smoothing, what it is)
_TRANSFORMERS: dict[str, tuple[Build, tuple[int, int, int], float, str]] = {
    "vit-tiny": (build_vit_tiny, (5_362_762, 5_380_132, 5_717_416), 0.0, "ViT-Tiny"),
    "deit-tiny": (
        build_deit_tiny, (5_362_762, 5_380_132, 5_717_416), 0.1, "DeiT-Tiny (stochastic depth, no distillation)",
    ),
    "tnt-small": (build_tnt_small, (23_323_498, 23_358_148, 23_755_336), 0.1, "TNT-S, transformer in transformer"),
}  # fmt: skip


def _on_cifar(
    classes: int, name: str, build: Build, parameters: int, budget: Budget, remark: str, designed_for: str = "relu"
) -> Task:
    full = f"cifar{classes}-{name}"
    return Task(
        full,
        partial(build, classes=classes),
        CifarFiles(classes, full),
        budget,
        designed_for,
        f"{remark}, on CIFAR-{classes}",
        parameters=parameters,
    )


def _on_imagenet(name: str, build: Build, parameters: int, budget: Budget, remark: str) -> Task:
    full = f"imagenet-{name}"
    model = partial(build, classes=1000, size=224, patch=16)
    remark = f"{remark}, patches of 16x16 pixels, on ImageNet"
    return Task(full, model, ImageNetFiles(full), budget, "gelu", remark, parameters=parameters)


def _tasks() -> list[Task]:
    child = "ResNet-20, the child network of the search for Swish"
    made = [_on_cifar(10, "resnet20", build_resnet20, 269_722, RESNET20, child)]
    for place, classes in enumerate((10, 100)):
        for name, (build, counts, budget, remark) in _CONVOLUTIONAL.items():
            made.append(_on_cifar(classes, name, build, counts[place], budget, remark))
        for name, (build, sizes, smoothing, remark) in _TRANSFORMERS.items():
            budget = replace(CIFAR_TRANSFORMER, label_smoothing=smoothing)
            remark = f"{remark}, patches of 4x4 pixels"
            made.append(_on_cifar(classes, name, build, sizes[place], budget, remark, "gelu"))
    for name, (build, sizes, smoothing, remark) in _TRANSFORMERS.items():
        budget = replace(IMAGENET_TRANSFORMER, label_smoothing=smoothing)
        made.append(_on_imagenet(name, build, sizes[2], budget, remark))
    return made


IMAGE_TASKS: tuple[Task, ...] = tuple(_tasks())
