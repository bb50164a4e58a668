"""GPT-2 as Hugging Face's transformers keeps it, with the activation on trial in its place.

The weights lie in a folder: `gpt2` inside the data folder, which may hold any model of GPT-2's kind, such as one
fine-tuned before. Nothing here goes to the network but `download`, which only the user starts.

References
----------
[GPT2] A. Radford et al., "Language models are unsupervised multitask learners", 2019
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from nonlin.errors import MissingExtraError, TaskError
from nonlin.tasks.folder import data_folder
from nonlin.tasks.task import ActivationFactory

NAME = "gpt2"
SOURCE = "openai-community/gpt2"
PARAMETERS = 124_439_808  # the smallest GPT-2, its output layer shared with its embedding
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def folder() -> Path:
    return data_folder() / NAME


def there() -> bool:
    """Whether a model and its tokenizer are; nothing is read."""
    return (folder() / "config.json").is_file() and _has(_WEIGHTS) and bool(tokenizer_files())


def _has(names: tuple[str, ...]) -> bool:
    return any((folder() / name).is_file() for name in names)


def tokenizer_files() -> list[Path]:
    """The tokenizer's files; empty if it is not there."""
    for names in _TOKENIZERS:
        paths = [folder() / name for name in names]
        if all(path.is_file() for path in paths):
            return paths
    return []


def tokenizer() -> Any:
    """Its tokenizer; without limits of length."""
    library = _transformers()
    try:
        return library.GPT2TokenizerFast.from_pretrained(folder(), local_files_only=True, model_max_length=10**9)
    except (OSError, ValueError) as error:
        raise _unreadable("tokenizer", error) from None


def pretrained(activation: ActivationFactory) -> nn.Module:
    """The model without its output layer, which is its embedding; without dropout.

    Raises
    ------
    TaskError : it is not there, or cannot be read, or is no GPT-2
    MissingExtraError : no transformers
    """
    library = _transformers()
    if not there():
        raise TaskError(f"GPT-2 is not in {folder()}. Download it once with: nonlin tasks --download gpt2-dpo-hh.")
    try:
        config = library.AutoConfig.from_pretrained(folder(), local_files_only=True)
        if config.model_type != "gpt2":
            raise TaskError(f"{folder()} holds a model of type {config.model_type!r}, expected 'gpt2'.")
        model = library.GPT2Model.from_pretrained(folder(), config=without_dropout(config), local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, TaskError):
            raise
        raise _unreadable("model", error) from None
    return with_activation(model, activation)


def from_config(config: Any, activation: ActivationFactory) -> nn.Module:
    """A model of this config with random weights."""
    return with_activation(_transformers().GPT2Model(without_dropout(config)), activation)


def without_dropout(config: Any) -> Any:
    """The config with dropout off: answers are compared with those of a copy, which dropout would only blur."""
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    config.use_cache = False
    return config


def with_activation(model: Any, activation: ActivationFactory) -> nn.Module:
    """Put the activation into every block; the weights stay what they were with GELU in its tanh form."""
    width = model.config.n_inner or 4 * model.config.n_embd
    for block in model.h:
        block.mlp.act = activation(width, dim=-1)
    return model


def download() -> Path:
    """Get the smallest GPT-2 from Hugging Face."""
    return snapshot(SOURCE, "model", folder(), ["config.json", "model.safetensors", "tokenizer.json", "vocab.json",
                                                "merges.txt"])  # fmt: skip


def snapshot(source: str, kind: str, place: Path, patterns: list[str]) -> Path:
    """Copy a model or a data set from Hugging Face into a folder; what is there whole is not sent again."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hf", f"Downloading {source}") from None
    try:
        snapshot_download(source, repo_type=kind, local_dir=place, allow_patterns=patterns)
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TaskError(
            f"{source} could not be downloaded from Hugging Face: {reason} What came stays in {place}, and the same "
            "command goes on from there. Or copy its files there from another machine."
        ) from None
    return place


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "hf", "GPT-2") from None
    return transformers


def _unreadable(what: str, error: Exception) -> TaskError:
    reason = str(error).strip().splitlines()[0]
    return TaskError(f"the {what} in {folder()} cannot be read: {reason} Get it again.")
