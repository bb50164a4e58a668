"""Models of timm and of Hugging Face's transformers as tasks, their activations replaced by the one on trial.

    imagenet-inception_v3       a model of timm on ImageNet; so any of timm's names
    timm:resnet18@cifar10       a model of timm on other data
    hf:PATH@imagenet            an image classifier, or (on chars) a language model, from a config.json

Behind the @ stands the data: imagenet, cifar10, cifar100 or chars (the text of `chars-gpt`). Weights begin as the
library begins them; nothing is loaded and nothing is downloaded. How they are trained is our choice: the papers'
settings for these models are not published, or are for clusters of another kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nonlin.errors import MissingExtraError, TaskError, UnknownNameError, suggest
from nonlin.nn.swap import swap
from nonlin.tasks.budget import Budget
from nonlin.tasks.data import Data
from nonlin.tasks.language.text import CHARS_GPT
from nonlin.tasks.pictures.cifar import CifarFiles
from nonlin.tasks.pictures.imagenet import ImageNetFiles
from nonlin.tasks.pictures.papers import CIFAR_TRANSFORMER, IMAGENET_ROWS, WIDE
from nonlin.tasks.task import ActivationFactory, Factory, Task

# Ours: SGD with the usual rate for the batch, cosine, a warm-up of five epochs.
IMAGENET_BUDGET = Budget(
    epochs=100, batch_size=256, optimizer="sgd", nesterov=True, learning_rate=0.1, weight_decay=1e-4,
    schedule="cosine", warmup=5 * -(-IMAGENET_ROWS // 256), label_smoothing=0.1,
)  # fmt: skip

CLASSES = {"imagenet": 1000, "cifar10": 10, "cifar100": 100}
# The models of timm that the Swish paper names, as far as timm has them: (parameters, what it is)
_NAMED = {
    "inception_resnet_v2": (55_843_464, "Inception-ResNet-v2"),
    "inception_v3": (23_834_568, "Inception-v3"),
    "inception_v4": (42_679_816, "Inception-v4"),
    "nasnetalarge": (88_753_150, "NASNet-A large (timm has no mobile one)"),
    "mobilenetv1_100": (4_231_976, "MobileNet v1"),
    "mobilenetv2_100": (3_504_872, "MobileNet v2"),
}


@dataclass(frozen=True)
class TimmModel:
    """Builds a model of timm with other activations."""

    name: str
    data: str

    def __call__(self, activation: ActivationFactory) -> nn.Module:
        settings: dict[str, Any] = {"num_classes": CLASSES[self.data]}
        config = timm_config(self.name)
        if self.data != "imagenet" and config.fixed_input_size:
            settings["img_size"] = 32
        model = _timm().create_model(self.name, pretrained=False, **settings)
        side = config.input_size[1] if self.data == "imagenet" else 32
        return replaced(model, activation, torch.zeros(2, 3, side, side), self.name)


@dataclass(frozen=True)
class LibraryImageNet:
    """ImageNet's pictures as a model of another library wants them.

    Attributes
    ----------
    model : its name there
    task : the task that it belongs to, for messages
    wanted : what of `ImageNetFiles` that library says of a model; asked only once the pictures are there
    """

    model: str
    task: str
    wanted: Callable[[str], dict[str, Any]]
    title = ImageNetFiles.title

    @property
    def there(self) -> bool:
        return ImageNetFiles(self.task).there

    def __call__(self) -> Data:
        if not self.there:
            raise ImageNetFiles(self.task).missing()
        return ImageNetFiles(self.task, **self.wanted(self.model))()

    def download(self, watcher: Callable[[int], None] | None = None) -> Path:
        return ImageNetFiles(self.task).download(watcher)


def _timm_pictures(name: str) -> dict[str, Any]:
    """The size, cut and colours that a model of timm is made for."""
    config = timm_config(name)
    return {"size": config.input_size[1], "kept": config.crop_pct, "mean": config.mean, "deviation": config.std}


class Logits(nn.Module):
    """A model of transformers that takes a tensor and gives the logits alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits


@dataclass(frozen=True)
class TransformersModel:
    """Builds a model of transformers from a config, with other activations."""

    config: str
    data: str

    def __call__(self, activation: ActivationFactory) -> nn.Module:
        transformers = _transformers()
        config = self._read()
        example: Tensor
        if self.data == "chars":
            config.vocab_size = CHARS_GPT.load().classes
            kind, example = transformers.AutoModelForCausalLM, CHARS_GPT.load().train[0][:2]
        else:
            config.num_labels = CLASSES[self.data]
            if self.data != "imagenet" and hasattr(config, "image_size"):
                config.image_size = 32
            side = _side(config)
            kind, example = transformers.AutoModelForImageClassification, torch.zeros(2, 3, side, side)
        try:
            model = kind.from_config(config)
        except (ValueError, KeyError) as error:
            raise TaskError(f"{self.config} gives no model for {self.data}: {str(error).splitlines()[0]}") from None
        return replaced(Logits(model), activation, example, self.config)

    def _read(self) -> Any:
        """The config: from a folder or file, or out of Hugging Face's cache; never from the net."""
        transformers = _transformers()
        try:
            return transformers.AutoConfig.from_pretrained(self.config, local_files_only=True)
        except (OSError, ValueError) as error:
            raise TaskError(
                f"there is no config {self.config!r} here ({str(error).splitlines()[0]}). Give a folder with a "
                f"config.json, or get it once with: hf download {self.config} config.json"
            ) from None


def _transformers_pictures(config: str) -> dict[str, Any]:
    """The size that a config names."""
    return {"size": _side(TransformersModel(config, "imagenet")._read())}


def _side(config: Any) -> int:
    side = getattr(config, "image_size", 224)
    return side if isinstance(side, int) else 224


def replaced(model: nn.Module, activation: ActivationFactory, example: Tensor, name: str) -> nn.Module:
    """The model with a new module of the activation in place of every activation it has.

    Parameters per channel need the number of channels at each place, which a dry run on `example` tells.
    """
    wide = isinstance(activation, Factory) and activation.per == "channel" and bool(activation.activation.parameters)

    def made(channels: int | None, dim: int) -> nn.Module:
        return activation(channels, dim)

    with torch.random.fork_rng(devices=[]):
        found = swap(model, made, per="channel", example=example) if wide else swap(model, made)
    if not found:
        raise TaskError(f"{name} has no activation that could be replaced.")
    return model


def is_library(name: object) -> bool:
    """Whether this names a model of another library."""
    return isinstance(name, str) and name.startswith(("timm:", "hf:", "imagenet-"))


@lru_cache(maxsize=64)
def library_task(name: str) -> Task:
    """The task that stands for a model of another library.

    Raises
    ------
    UnknownNameError : timm has no such model, or there is no such data
    MissingExtraError : the library is not installed
    """
    if name.startswith("imagenet-"):
        return _timm_task(name, name.removeprefix("imagenet-"), "imagenet")
    kind, rest = name.split(":", 1)
    model, _, data = rest.partition("@")
    known = [*CLASSES, "chars"] if kind == "hf" else list(CLASSES)
    data = data or "imagenet"
    if data not in known:
        raise UnknownNameError("data", data, known, f"Write {kind}:{model}@NAME.")
    if kind == "timm":
        return _timm_task(name, model, data)
    if not model:
        raise TaskError("hf: needs a folder with a config.json, or a name: hf:google/vit-base-patch16-224@cifar10.")
    remark = f"{model} of transformers, weights not loaded, on {data}"
    if data == "chars":
        return Task(name, TransformersModel(model, data), CHARS_GPT.data, CHARS_GPT.budget, "gelu", remark)
    source = (
        LibraryImageNet(model, name, _transformers_pictures) if data == "imagenet" else CifarFiles(CLASSES[data], name)
    )
    budget = IMAGENET_BUDGET if data == "imagenet" else CIFAR_TRANSFORMER
    return Task(name, TransformersModel(model, data), source, budget, "gelu", remark)


def _timm_task(name: str, model: str, data: str) -> Task:
    if model not in _NAMED:
        timm_config(model)  # so that a wrong name is told at once
    count, what = _NAMED.get(model, (0, model))
    source = LibraryImageNet(model, name, _timm_pictures) if data == "imagenet" else CifarFiles(CLASSES[data], name)
    budget = IMAGENET_BUDGET if data == "imagenet" else WIDE
    remark = f"{what}, from timm, on {'ImageNet' if data == 'imagenet' else data}"
    return Task(
        name, TimmModel(model, data), source, budget, remark=remark, parameters=count if data == "imagenet" else 0
    )


def timm_config(name: str) -> Any:
    """What timm knows of a model: input_size, crop_pct, mean, std, fixed_input_size."""
    timm = _timm()
    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        close = suggest(name, timm.list_models())
        raise UnknownNameError("model of timm", name, timm.list_models(), "" if close else "See timm.list_models().")
    return timm.get_pretrained_cfg(name, allow_unregistered=True) or timm.models.PretrainedCfg()


def _timm() -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        if getattr(error, "name", "") == "timm":
            raise MissingExtraError("timm", "timm", "a model of timm") from None
        reason = str(error).splitlines()[0]
        raise TaskError(
            f"timm cannot be imported: {reason}. It needs the torchvision that belongs to torch {torch.__version__}."
        ) from None
    return timm


def _transformers() -> Any:
    with contextlib.suppress(ImportError):
        import transformers

        return transformers
    raise MissingExtraError("transformers", "hf", "a model of transformers")


LIBRARY_TASKS: tuple[Task, ...] = tuple(library_task(f"imagenet-{name}") for name in _NAMED)
