"""timm's and transformers' models as tasks: names, what is missing, and one step on tiny data in the real format."""

import pickle
import sys
from dataclasses import replace

import pytest
import torch
from cifar_files import write_cifar, write_class_folders
from torchvision_stub import torchvision_or_stub

import nonlin as nl
from nonlin.errors import MissingExtraError, TaskError, UnknownNameError
from nonlin.native.module import ActivationModule
from nonlin.tasks import TASKS, Factory, is_there, known, task
from nonlin.tasks.library_models import LIBRARY_TASKS, Logits
from nonlin.train import fit


@pytest.fixture(scope="module")
def timm():
    with torchvision_or_stub():
        return pytest.importorskip("timm")


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    return tmp_path


def acts(model) -> list[ActivationModule]:
    return [part for part in model.modules() if isinstance(part, ActivationModule)]


def short(name: str, **changes):
    whole = task(name)
    budget = replace(whole.budget, epochs=1, steps=1, batch_size=2, warmup=0, device="cpu")
    return replace(whole, name=f"{name} in short", data=whole.data(), budget=budget, **changes)


def test_names_need_no_library(folder):
    names = [one.name for one in LIBRARY_TASKS]
    assert names[0] == "imagenet-inception_resnet_v2"
    assert all(name in TASKS and known(name) for name in names)
    assert not any(is_there(one) for one in LIBRARY_TASKS)
    assert known("timm:resnet18@cifar10")
    assert not known("resnet18")


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_without_the_library(monkeypatch, library):
    task.__globals__["library_task"].cache_clear()
    monkeypatch.setitem(sys.modules, library, None)
    name, extra = ("timm:resnet18@cifar10", "timm") if library == "timm" else ("hf:some/where@cifar10", "hf")
    with pytest.raises(MissingExtraError, match=rf"pip install 'nonlin\[{extra}\]'"):
        task(name).model(Factory(nl.activation("relu")))


def test_a_torchvision_that_does_not_fit(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist\nand more")

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    task.__globals__["library_task"].cache_clear()
    with pytest.raises(TaskError, match=r"torchvision::nms does not exist\. It needs the torchvision that belongs to"):
        task("timm:resnet18@cifar10")


@pytest.mark.parametrize("one", LIBRARY_TASKS, ids=lambda one: one.name)
def test_sizes_in_the_list(timm, one):
    name = one.name.removeprefix("imagenet-")
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == one.parameters


def test_wrong_names(timm):
    with pytest.raises(UnknownNameError, match=r"unknown model of timm 'resnet81'\. Did you mean"):
        task("timm:resnet81@cifar10")
    with pytest.raises(UnknownNameError, match="unknown model of timm 'resnet-eighteen'"):
        task("imagenet-resnet-eighteen")
    with pytest.raises(UnknownNameError, match="unknown data 'mnist'"):
        task("timm:resnet18@mnist")


def test_a_timm_model_on_cifar(timm, folder):
    write_cifar(folder, train=5, test=2)
    outcome = fit(short("timm:test_resnet@cifar10"), "swish")
    assert outcome.status == "ok", outcome.error
    assert outcome.parameters["beta"] != 1.0
    one = task("timm:test_resnet@cifar10")
    assert pickle.loads(pickle.dumps(one)).build == one.build
    wide = acts(one.model(Factory(nl.activation("swish"))))
    assert len(wide) == 12
    assert all(part.beta.dim() == 1 and len(part.beta) > 1 for part in wide)
    assert len(acts(one.model(Factory(nl.activation("crrelu"), per="tensor")))) == 12


def test_a_model_with_a_fixed_size_on_cifar(timm, folder):
    write_cifar(folder, 100, train=5, test=2)
    model = task("timm:vit_tiny_patch16_224@cifar100").model(Factory(nl.activation("gelu")))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


def test_a_timm_model_on_imagenet(timm, folder):
    """Pictures come at the size and in the colours that timm's model is made for."""
    write_class_folders(folder / "imagenet", {"train": 2, "val": 1}, ["a", "b"])
    one = task("imagenet-test_vit")
    data = one.data()
    config = timm.get_pretrained_cfg("test_vit")
    assert data.train[0].shape == (3, *config.input_size)
    assert (data.train[0].mean, data.train[0].kept) == (config.mean, config.crop_pct)
    outcome = fit(short("imagenet-test_vit"), "gelu")
    assert outcome.status == "ok", outcome.error
    inception = task("imagenet-inception_v3").data()
    assert inception.test[0][:1].shape == (1, 3, 299, 299)


def test_an_image_classifier_from_a_config(transformers, folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_cifar(folder, train=5, test=2)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=64, patch_size=8
    )
    config.save_pretrained(folder / "config")
    name = f"hf:{folder / 'config'}@cifar10"
    outcome = fit(short(name), "swish")
    assert outcome.status == "ok", outcome.error
    model = task(name).model(Factory(nl.activation("swish")))
    assert isinstance(model, Logits)
    assert [part.beta.shape for part in acts(model)] == [(48,), (48,)]
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    write_class_folders(folder / "imagenet", {"train": 2, "val": 1}, ["a", "b"])
    assert task(f"hf:{folder / 'config'}").data().train[0].shape == (3, 3, 64, 64)


def test_a_language_model_from_a_config(transformers, folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2).save_pretrained(folder / "config")
    one = task(f"hf:{folder / 'config'}@chars")
    data = TASKS["chars-gpt"].load()
    model = one.model(Factory(nl.activation("crrelu")))
    assert model(data.train[0][:2]).shape == (*data.train[1][:2].shape, data.classes)
    assert len(acts(model)) == 1


def test_a_config_that_is_not_here(transformers, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TaskError, match=r"there is no config 'no-one/nothing' here .*hf download no-one/nothing"):
        task("hf:no-one/nothing@cifar10").model(Factory(nl.activation("relu")))
