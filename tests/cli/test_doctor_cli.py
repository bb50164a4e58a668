"""`nonlin doctor` as a user and as a script see it."""

import json

from nonlin.run.doctor import Finding


def test_it_lists_what_was_found(run):
    code, out, _ = run("doctor")
    assert code == 0
    assert "compiled core" in out
    assert "nonlin[onnx]" in out or "extra onnx     ok" in out


def test_json_has_every_finding(run):
    code, out, _ = run("doctor", "--json")
    findings = json.loads(out)["findings"]
    assert code == 0
    assert {finding["state"] for finding in findings} <= {"ok", "missing"}
    assert any(finding["subject"] == "torch" for finding in findings)


def test_something_broken_makes_the_status_1(run, monkeypatch):
    broken = Finding("torch", "broken", "1.0, older than 2.6", "pip install 'torch>=2.6'")
    monkeypatch.setattr("nonlin.run.doctor.examine", lambda: [broken])
    monkeypatch.setattr("nonlin.run.examine", lambda: [broken], raising=False)
    code, out, _ = run("doctor")
    assert code == 1
    assert "pip install 'torch>=2.6'" in out
