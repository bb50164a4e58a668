"""What `examine` says of an installation that is whole, and of one that is not."""

import importlib.metadata

import pytest

import nonlin
from nonlin import native
from nonlin.run import doctor, examine


def by_subject(findings):
    return {finding.subject: finding for finding in findings}


def test_a_whole_installation():
    found = by_subject(examine())
    assert found["nonlin"].found.startswith(nonlin.__version__)
    assert found["torch"].state == "ok"
    assert found["compiled core"].state == ("ok" if native.available() else "missing")
    assert {"extra hf", "extra onnx", "extra optuna"} <= set(found)
    assert not any(finding.state == "broken" for finding in found.values())


def test_a_missing_core_says_what_to_do(monkeypatch):
    monkeypatch.setattr("nonlin.native.library.load", lambda: None)
    finding = doctor._core()
    assert finding.state == "missing"
    assert "einstall" in finding.advice


def test_a_core_that_computes_wrongly_is_broken(monkeypatch):
    if not native.available():
        pytest.skip("no compiled core")
    monkeypatch.setattr(native, "forward", lambda function, x: x)
    assert doctor._core().state == "broken"


@pytest.mark.parametrize(
    ("there", "state"), [("2.5.9+cpu", "broken"), ("2.6", "ok"), ("2.10.0", "ok"), ("3.0rc1", "ok")], ids=str
)
def test_versions_are_compared_as_numbers(monkeypatch, there, state):
    monkeypatch.setattr(doctor, "version", lambda name: there)
    finding = doctor._package("torch>=2.6", needed=True)
    assert finding.state == state
    assert (finding.advice == "pip install 'torch>=2.6'") == (state == "broken")


def test_a_package_that_is_not_there(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    assert doctor._package("torch>=2.6", needed=True).state == "broken"
    assert doctor._package("timm>=1", needed=False).state == "missing"
