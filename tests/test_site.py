"""The site is built without warnings and without a network, and none of its links is broken."""

import html.parser
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MADE_THEORY = ROOT / "docs" / "_made" / "theory.md"
SECONDS = 360
COMBINATIONS = 25  # of a page of theory: five positions of each slider, of ten or more
pytestmark = pytest.mark.slow  # it takes half a minute

sphinx = pytest.importorskip("sphinx", reason="the site needs the extra docs")


class Page(html.parser.HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "prefetch"):
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder and pages, by their path in it."""
    out = tmp_path_factory.mktemp("site") / "html"
    options = ["-W", "--keep-going", "-n", "-E", "-q", "-D", f"theory_combinations={COMBINATIONS}"]
    command = [sys.executable, "-m", "sphinx", *options, "docs", out]
    # a proxy that does not exist: nothing can be fetched
    offline = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | offline, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return out, {p.relative_to(out).as_posix(): Page(p) for p in out.rglob("*.html")}


def test_no_link_is_broken(site):
    out, pages = site
    broken, n_checked = [], 0
    for name, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            n_checked += 1
            path = urllib.parse.unquote(url.path)
            target = (out / name).parent.joinpath(path).resolve() if path else out / name
            other = target.relative_to(out.resolve()).as_posix() if path else name
            anchors = pages[other].anchors if other in pages else {""}
            fragment = urllib.parse.unquote(url.fragment)
            if not target.exists() or (fragment and fragment not in anchors and other in pages):
                broken.append(f"{name}: {link}")
    assert not broken
    assert n_checked > 3000


def test_nothing_is_loaded_from_a_network(site):
    out, pages = site
    loaded = {(name, source) for name, page in pages.items() for source in page.loaded}
    assert loaded
    assert not [x for x in loaded if urllib.parse.urlsplit(x[1]).scheme not in ("", "data")]
    for style in out.rglob("*.css"):
        assert "@import" not in style.read_text(), style
        assert "url(http" not in style.read_text().replace('"', ""), style


def test_every_public_name_has_an_entry(site):
    _, pages = site
    anchors = set().union(*(p.anchors for n, p in pages.items() if n.startswith("_made/api/")))
    texts = "".join(p.read_text() for p in (ROOT / "docs" / "_made" / "api").glob("*.md"))
    assert len(anchors) > 250
    for name in (ROOT / "tests" / "public_names.txt").read_text().split():
        module, _, attribute = name.rpartition(".")
        value = getattr(importlib.import_module(module), attribute)
        assert inspect.ismodule(value) or name in anchors or f"`{name}`" in texts, name


def test_the_table_of_theories_shows_what_is_predicted(site):
    assert "_made/theory.html" in site[1]
    text = MADE_THEORY.read_text()
    flat = "`TeacherStudent`, `embedding=Identity()`, `decoder=Linear()`, `gradient=Population()`"
    given = "`embedding=Given(...)`, `decoder=Linear()`, `gradient=Population()`, `initial=Zeros()`"
    for case in (flat, given):
        rows = text.split(f"**{case}**\n")[1].split("\n**")[0]
        kinds = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", rows, re.M))
        assert kinds["loss"] == kinds["feature_strength"] == "exact", case


def test_search_has_an_index(site):
    out, _ = site
    index = (out / "searchindex.js").read_text()
    for word in ("emergence_tim", "interfer", "glossari"):
        assert word in index


def test_a_search_for_a_word_leads_to_the_section_about_it(site):
    out, _ = site
    index = (out / "searchindex.js").read_text()
    entries = json.loads(index[len("Search.setIndex(") : -1])
    for word, anchors in {
        "checkpoint": {"long-runs"},
        "resume": {"stores", "continue-a-sweep-that-was-killed"},
        "gpus": {"installation-and-devices", "use-all-cores-eight-gpus-or-a-cluster"},
    }.items():
        assert anchors <= {anchor for _, anchor, main in entries["indexentries"][word] if main}
    assert "_made/changelog" in (out / "_static" / "language_data.js").read_text()
