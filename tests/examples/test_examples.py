"""Every example runs as it stands, in a folder of its own."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
# what an example imports beyond nonlin's own dependencies, and what it must say (a regular expression)
NEEDS = {
    "hf_gpt2": "transformers",
    "hf_vit": "transformers",
    "onnx_runtime": "onnxruntime",
    "optuna_search": "optuna",
    "ray_tune_search": "ray.tune",
    "timm_model": "timm",
}
SAYS = {
    "own_cnn": r"replaced: relu_1 act \| .* gone: act relu_1",
    "hf_gpt2": r"the same outputs: True\ntrained: {'transformer.h.0.mlp.act.beta'",
    "hf_vit": r"the same outputs: True\n128 betas",
    "own_strategy": r"(0\.\d{4}  .+\s){3}$",
    "optuna_search": r"report: 12 functions in 12 trials",
    "ray_tune_search": r"(loss 0\.\d{4}  rate 0\.\d+ .*\n){6}report: 6 trials",
    "sklearn_grid_search": r"(0\.\d{4} ± 0\.\d{4} .*\n){6}report: best",
    "onnx_runtime": r"(differ by \d\.\de-(0[6-9]|[1-9]\d)\s.*){2}$",
    "timm_model": r"(.*by swap: \d+ activations, .*\b0 left out.*undone: True\s){3}$",
}
# timm imports torchvision for what none of its models needs; where there is none, an empty one does
TIMM = """
import runpy, sys
sys.path.insert(0, sys.argv[2])
from torchvision_stub import torchvision_or_stub
with torchvision_or_stub():
    import timm
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def is_installed(module):
    package = module.split(".")[0]
    return importlib.util.find_spec(package) is not None and importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    needed = NEEDS.get(path.stem)
    if needed and not is_installed(needed):
        pytest.skip(f"needs {needed}")
    stub = ["-c", TIMM, str(path), str(Path(__file__).parents[1] / "integrations")]
    command = [sys.executable, *(stub if needed == "timm" else [str(path)])]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, env=offline)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(SAYS.get(path.stem, "report:"), done.stdout, re.DOTALL), done.stdout


def test_own_data_is_short():
    source = next(path for path in EXAMPLES if path.stem == "own_data").read_text()
    code = [line for line in source.splitlines() if line.strip() and not line.strip().startswith(("#", '"""'))]
    assert len(code) < 30
