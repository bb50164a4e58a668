"""The Python of docs/tuning.md runs as it stands."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text(encoding="utf-8")


def test_blocks_run(capsys):
    namespace = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), namespace)
    scores = re.findall(r"^\S+ (0\.\d+) ± ", capsys.readouterr().out, re.MULTILINE)
    assert len(scores) == 4
    assert min(map(float, scores)) > 0.9
    assert callable(namespace["search"])
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(namespace["objective"], n_trials=3)
    assert study.best_value > 0.5
