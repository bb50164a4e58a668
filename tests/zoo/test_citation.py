"""BibTeX: from the catalogue's own words, and nothing that they do not say."""

import re

import pytest

import nonlin as nl
from nonlin import zoo
from nonlin.zoo.citation import citation, citations, own_citation


def test_an_arxiv_paper():
    entry = zoo.entry("swish")
    assert citation(entry.source).bibtex() == (
        "@misc{ramachandran2017searching,\n  title = {Searching for activation functions},\n"
        "  author = {Ramachandran and Zoph and Le},\n  year = {2017},\n"
        "  eprint = {1710.05941},\n  archiveprefix = {arXiv}\n}"
    )


def test_words_that_are_not_all_known():
    found = citation("Sun et al. 2024, A method on searching better activation functions, arXiv 2405.12954")
    assert found.authors == ("Sun", "others")
    assert "author = {Sun and others}" in found.bibtex()
    found = citation("Collobert 2004, Large scale machine learning (thesis)")
    assert (found.note, found.eprint) == ("thesis", "")
    assert "eprint" not in found.bibtex()
    found = citation("Kumar 2022, APTx: better activation than MISH & others_6, arXiv 2209.06119")
    assert "title = {{APTx}: better activation than {MISH} \\& others\\_6}" in found.bibtex()


@pytest.mark.parametrize(
    "source", ["Folklore", "Folklore; in torch and JAX", "Torch, 2011 (no paper)", "", "Someone 2020"]
)
def test_no_work_no_entry(source):
    assert citation(source) is None


@pytest.mark.parametrize("name", zoo.names())
def test_nothing_is_made_up(name):
    """Every word, year and number of an entry stands in the source."""
    source = zoo.entry(name).source
    found = citation(source)
    if found is None:
        assert (
            "Folklore" in source
            or not re.search(r"(19|20)\d\d, [A-Z]", source)
            or "arXiv" in source.split(", ")[-2:][0]
        )
        return
    assert found.title in source
    assert str(found.year) in source
    assert all(author in source for author in found.authors if author != "others")
    assert found.eprint in source
    text = found.bibtex()
    assert text.count("{") == text.count("}")
    assert re.match(r"@misc\{[a-z]+\d{4}[a-z]*,\n", text)
    assert not re.search("doi|journal|publisher|booktitle", text)


def test_keys_belong_to_one_work():
    keys = {}
    for name in zoo.names():
        if found := citation(zoo.entry(name).source):
            assert keys.setdefault(found.key, found.title) == found.title


def test_most_of_the_catalogue_can_be_cited():
    cited = [name for name in zoo.names() if citation(zoo.entry(name).source)]
    assert len(cited) > 0.9 * len([n for n in zoo.names() if "Folklore" not in zoo.entry(n).source])


def test_each_work_once_and_rediscoveries_are_cited():
    acts = [nl.activation(f) for f in ("silu", "x*sigmoid(x)", "gelu", "x", "x*tanh(x) + sin(3*x)")]
    keys = [work.key for work in citations(acts)]
    assert "hendrycks2016gaussian" in keys
    assert len(keys) == len(set(keys))
    assert citations([nl.activation("x*x*sin(7*x)")]) == []


def test_own():
    assert f"version = {{{nl.__version__}}}" in own_citation()
    assert own_citation().count("{") == own_citation().count("}")
