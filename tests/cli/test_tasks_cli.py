"""`nonlin tasks`: what is there, what has to be downloaded, and one message where it is missing."""

import json

from nonlin.tasks import TASKS


def test_the_list_says_whether_the_data_is_there(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    code, out, _ = run("tasks")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line and not line.startswith(" ")}
    assert "ready" in lines["digits-cnn"]
    assert "to download" in lines["mnist-cnn"]
    assert "clip 0.5" in out
    rows = json.loads(run("tasks", "--json")[1])["tasks"]
    assert [row["name"] for row in rows] == list(TASKS)
    by_name = {row["name"]: row for row in rows}
    assert all(row["data_is_there"] == (row["data"] is None) for row in rows)
    assert (by_name["mnist-cnn"]["data"], by_name["digits-cnn"]["data"]) == ("MNIST", None)
    assert by_name["cifar10-resnet164"]["parameters"] == 1_703_258
    assert "1.7M" in lines["cifar10-resnet164"]
    assert "10,000 steps" in lines["cifar10-resnet20"]
    assert "to download: ImageNet-1K" in lines["imagenet-inception_v3"]


def test_a_task_without_its_data_is_one_error(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    code, _, err = run("search", "--task", "mnist-cnn", "--budget", "1")
    assert code == 2
    assert err.startswith("error: task mnist-cnn needs MNIST")
    assert "nonlin tasks --download mnist-cnn" in err
    assert "NONLIN_DATA" in err
    assert "Traceback" not in err


def test_download(run, tmp_path, monkeypatch):
    asked = []

    def download(chosen, watcher=None):
        asked.append(chosen.name)
        if watcher:
            watcher(10**6)
        return tmp_path / "mnist"

    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    monkeypatch.setattr("nonlin.tasks.download", download)
    code, out, _ = run("tasks", "--download", "mnist-cnn")
    assert code == 0
    assert "downloading the data of mnist-cnn" in out
    assert str(tmp_path / "mnist") in out
    shown = json.loads(run("tasks", "--download", "mnist-cnn", "--json")[1])
    assert shown == {"task": "mnist-cnn", "folder": str(tmp_path / "mnist")}
    assert asked == ["mnist-cnn", "mnist-cnn"]


def test_bad_names(run):
    code, _, err = run("tasks", "--download", "digits-mlp")
    assert code == 2
    assert "All other tasks have their data already" in err
    code, _, err = run("tasks", "--download", "mnist")
    assert code == 2
    assert "'mnist-cnn'" in err


def test_what_cannot_be_downloaded(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    code, _, err = run("tasks", "--download", "imagenet-vit-tiny")
    assert code == 2
    assert "registered users" in err
    assert "Traceback" not in err


def test_a_task_of_a_library_that_is_not_known(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NONLIN_DATA", str(tmp_path))
    for name, told in (("timm:resnet18@cifar11", "'cifar10'"), ("hf:", "needs a folder with a config.json")):
        code, _, err = run("tasks", "--download", name)
        assert code == 2
        assert told in err
