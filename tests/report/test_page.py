"""The page: valid, self-contained, escaped, with a row for every verdict."""

import html.parser
import math

import pytest

from jaxscale.analysis.claim import Claim
from jaxscale.report.page import Table, number, write_page

VOID = ("meta", "img", "br", "link")
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "action", "data", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _claim(name, low, high, *, n_seeds=8, out_of_range=False, statement="A claim"):
    return Claim(
        id=name, statement=statement, source="eq. <3> & \"fig. 2\"", predicted=1.0,
        measured=(low + high) / 2, interval=(low, high), margin=0.1, reason="a > b",
        n_seeds=n_seeds, out_of_range=out_of_range,
    )  # fmt: skip


CLAIMS = {
    "agrees": _claim("a", 0.95, 1.05, statement="<script>alert('x')</script>"),
    "disagrees": _claim("b", 2.0, 3.0),
    "inconclusive": _claim("c", 0.95, 1.5),
    "out of range": _claim("d", 0.95, 1.05, out_of_range=True),
    "no verdict": _claim("e", 0.95, 1.05, n_seeds=3),
}


@pytest.fixture
def page(tmp_path):
    image = tmp_path / "a.svg"
    image.write_bytes(SVG)

    def write(claims, tables=()):
        write_page(
            tmp_path / "report.html",
            title="Title <b> & more",
            source="arXiv <1>",
            claims=claims,
            figures=[(image, 'Caption "quoted" <i>')],
            tables=tables,
            provenance={"preset": {"runs": 3, "device": "2 x <cpu>", "versions": '{"a": "1"}'}},
        )
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        reader = Reader()
        reader.feed(text)
        reader.close()
        assert reader.open == []
        return text, reader

    return write


def test_the_page_is_valid_and_self_contained(page):
    table = Table("Scores <of>", "a & b", ("", "skill 1"), (("delta", "+0.1"), ("rms", "–")))
    text, reader = page(list(CLAIMS.values()), [table])
    assert "Scores &lt;of&gt;" in text
    assert '<tr><td>delta</td><td class="number">+0.1</td></tr>' in text
    assert (number(None, ".1f"), number(math.nan, ".1f"), number(0.25, "+.1f")) == (
        "–",
        "–",
        "+0.2",
    )
    assert text.startswith("<!doctype html>")
    assert reader.tags.count("html") == reader.tags.count("body") == reader.tags.count("h1") == 1
    assert "script" not in reader.tags
    assert "iframe" not in reader.tags
    assert reader.links
    assert all(link.startswith("data:image/svg+xml;base64,") for link in reader.links)
    assert "url(" not in text
    assert "@import" not in text


def test_every_verdict_has_a_row(page):
    text, reader = page(list(CLAIMS.values()))
    for verdict, claim in CLAIMS.items():
        assert str(claim.verdict) == verdict
        kind = verdict if verdict in ("agrees", "disagrees") else "open"
        assert f'<td class="verdict {kind}">{verdict}</td>' in text
        assert f"{verdict} 1" in text
    assert reader.tags.count("tr") == 1 + len(CLAIMS) + 3


def test_text_is_escaped(page):
    text, reader = page(list(CLAIMS.values()))
    assert "<script>" not in text
    assert "<b>" not in text
    seen = "".join(reader.text)
    for words in ("<script>alert('x')</script>", 'eq. <3> & "fig. 2"', "a > b", "2 x <cpu>"):
        assert words in seen


def test_deterministic_and_missing_measurements(page):
    exact = _claim("f", 1.0, 1.0, n_seeds=None)
    text, _ = page([exact])
    assert "deterministic" in text
    missing = _claim("g", math.nan, math.nan)
    text, _ = page([missing])
    assert ">deterministic<" not in text
    assert "inconclusive" in text


def test_no_claims(page):
    text, _ = page([])
    assert "0 claims" in text
