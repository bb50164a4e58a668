"""What the tests of the reports share: a reader of HTML, a headless browser if there is one, small comparisons."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

from nonlin.run.runs import Run

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


class Tags(HTMLParser):
    """Tags of a page: which are open, counts, ids, links, headings, and the text of table rows."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "path", "use", "circle"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.count, self.links, self.headings = [], [], {}, [], []
        self.labelled_by, self.pictures, self.buttons = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.count[tag] = self.count.get(tag, 0) + 1
        self.ids += [values["id"]] if "id" in values else []
        self.labelled_by += [values["aria-labelledby"]] if "aria-labelledby" in values else []
        self.links += [values[key] for key in ("href", "src", "xlink:href") if key in values]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.pictures += [values] if values.get("role") == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def check_page(page):
    """What every report must be: well formed, self-contained, and fit for a screen reader."""
    tags = Tags(page)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    assert all(link.startswith("#") or link == "data:," for link in tags.links)
    assert all(link[1:] in tags.ids for link in tags.links if link.startswith("#"))
    assert set(tags.labelled_by) <= set(tags.ids)
    assert not re.search(r"https?:|@import|url\(", page), "a report asks nothing of any network"
    assert "default-src 'none'" in page
    assert tags.headings[0] == 1
    assert tags.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(tags.headings, tags.headings[1:], strict=False))
    assert all(len(picture.get("aria-label", "")) > 10 for picture in tags.pictures)
    assert "NaN" not in page.split('id="nonlin-data"')[0].replace("no NaN", "")
    return tags


def data_of(page):
    """The JSON inside a page."""
    return json.loads(re.search(r'id="nonlin-data">(.*?)</script>', page, re.DOTALL).group(1))


def csv_of(page):
    """The rows of the CSV inside a page."""
    text = re.search(r'<pre id="csv-data"[^>]*>(.*?)</pre>', page, re.DOTALL).group(1)
    return list(csv.DictReader(io.StringIO(unescape(text))))


def text_of(html):
    """Words without tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html))).strip()


def browse(path, profile, *options):
    """(document after its scripts ran, what the console said) in a headless browser."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}", *options, "--dump-dom", f"file://{path}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "LANG": "C.UTF-8"})
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def runs_of(arm, scores, *, task="small", phase="final", rate=0.02, status="ok", parameters=None):
    """Made-up trainings of one arm, one for each score, whose loss is 1 - score."""
    return [
        Run(
            phase, task, arm, rate, seed, status, score, 1 - score, score if status == "ok" else float("nan"),
            1 - score if status == "ok" else float("nan"), 4, 1.0, 0.25, 1000 if phase == "final" else None,
            {"loss": [2.0, 1.5, 1.2, 1 - score], "score": [0.2, 0.5, 0.6, score],
             "train_loss": [2.2, 1.6, 1.3, 1.0], "train_score": [0.1, 0.4, 0.5, 0.6]} if status == "ok" else {},
            parameters or {},
        )
        for seed, score in enumerate(scores)
    ]  # fmt: skip
