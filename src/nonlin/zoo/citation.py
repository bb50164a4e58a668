"""BibTeX for the activations of the catalogue, from the text of each entry's `source`.

Nothing is made up: an entry has the authors as the source gives them (surnames; "et al." becomes "and
others"), the title, the year and the arXiv number where there is one, and no more. A source that is not a
work ("Folklore", a library) has no entry.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import nonlin
from nonlin.zoo.activation import Activation
from nonlin.zoo.catalogue import catalogue
from nonlin.zoo.recognise import recognise

_SOURCE = re.compile(r"(?P<authors>[^\d;:]+?),? (?P<year>(?:19|20)\d\d)(?:, (?P<title>.+))?")
_ARXIV = re.compile(r",? arXiv (?P<number>\d{4}\.\d{4,5})")
_NOTE = re.compile(r" ?\((?P<note>[^()]*)\)$")
_WORD = re.compile(r"[a-z]{2,}")
_EMPTY = frozenset({"an", "and", "at", "by", "can", "for", "from", "how", "in", "is", "of", "on", "the", "to", "with"})
# What a title keeps its capitals for: words with a capital beyond their first letter, or after a colon.
_CAPITALS = re.compile(r"\b(?=\w*[A-Z])(?!A\b)[\w'-]+")


@dataclass(frozen=True)
class Citation:
    """A work as BibTeX needs it.

    Attributes
    ----------
    key : such as "sun2024method"
    authors : surnames; the last may be "others"
    eprint : arXiv number, or empty
    note : such as "blog" or "thesis", or empty
    """

    key: str
    authors: tuple[str, ...]
    title: str
    year: int
    eprint: str = ""
    note: str = ""

    def bibtex(self) -> str:
        """The entry as text."""
        rows = [("title", f"{{{_protected(self.title)}}}"), ("author", f"{{{' and '.join(self.authors)}}}")]
        rows.append(("year", f"{{{self.year}}}"))
        if self.eprint:
            rows += [("eprint", f"{{{self.eprint}}}"), ("archiveprefix", "{arXiv}")]
        if self.note:
            rows.append(("note", f"{{{_escaped(self.note)}}}"))
        body = ",\n".join(f"  {name} = {value}" for name, value in rows)
        return f"@misc{{{self.key},\n{body}\n}}"


def citation(source: str) -> Citation | None:
    """The work that a source of the catalogue names first; None if it names none with author, title and year.

    >>> citation("Misra 2019, Mish: a self regularized non-monotonic activation function, arXiv 1908.08681").key
    'misra2019mish'
    """
    first = source.split("; ", maxsplit=1)[0].removeprefix("As listed in ").strip()
    eprint = _ARXIV.search(first)
    note = ""
    text = first
    if eprint:
        text = first[: eprint.start()]
    elif found := _NOTE.search(first):
        text, note = first[: found.start()], found["note"]
    parts = _SOURCE.fullmatch(text)
    if parts is None or not parts["title"]:
        return None
    names = [name.strip() for name in parts["authors"].split(",")]
    authors = []
    for name in names:
        authors += [name.removesuffix(" et al."), "others"] if name.endswith(" et al.") else [name]
    year = int(parts["year"])
    return Citation(
        key=f"{_ascii(authors[0])}{year}{_first_word(parts['title'])}",
        authors=tuple(authors),
        title=parts["title"],
        year=year,
        eprint=eprint["number"] if eprint else "",
        note=note,
    )


def citations(acts: Iterable[Activation]) -> list[Citation]:
    """The works behind these activations, each once, in their order; a formula is cited as what it is known as."""
    found: dict[str, Citation] = {}
    for act in acts:
        entry = catalogue().find(act.name) or _known(act)
        work = citation(entry.source) if entry else None
        if work:
            found.setdefault(work.key, work)
    return list(found.values())


def own_citation() -> str:
    """The BibTeX entry of nonlin itself, as in CITATION.cff."""
    return (
        "@software{nonlin,\n"
        "  title = {nonlin: search, derive, compare and ship activation functions for {PyTorch}},\n"
        f"  author = {{{{The nonlin authors}}}},\n  version = {{{nonlin.__version__}}}\n}}"
    )


def _known(act: Activation):
    names = recognise(act.expr)
    return catalogue().find(names[0].name) if names else None


def _first_word(title: str) -> str:
    return next((word for word in _WORD.findall(_ascii(title, keep=" -")) if word not in _EMPTY), "")


def _ascii(text: str, keep: str = "") -> str:
    plain = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in plain if (letter.isascii() and letter.isalpha()) or letter in keep).lower()


def _protected(title: str) -> str:
    """The title with braces where BibTeX styles would lose capitals."""
    escaped = _escaped(title)
    first, rest = escaped[:1], escaped[1:]
    opening = re.match(r"[\w'-]+", escaped)
    if opening and re.search("[A-Z]", opening[0][1:]):
        return f"{{{opening[0]}}}" + _CAPITALS.sub(lambda word: f"{{{word[0]}}}", escaped[opening.end() :])
    return first + _CAPITALS.sub(lambda word: f"{{{word[0]}}}", rest)


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)
