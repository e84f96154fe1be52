"""The page: valid, self-contained, escaped, with a row for every verdict."""

import dataclasses
import html.parser
import math
import re

import pytest

from jaxscale._table import Table
from jaxscale._text import number
from jaxscale.analysis._claim import Claim
from jaxscale.report._page import SUMMARY, Section, write_page

VOID = ("meta", "img", "br", "link")
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.loads, self.links, self.text = [], [], [], [], []
        self.anchors = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "action", "data", "srcset")]
        self.links += [v for k, v in attrs if k == "href"]
        self.anchors += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _claim(name, low, high, *, n_seeds=8, out_of_range=False, statement="A claim"):
    return Claim(
        id=name, statement=statement, source="eq. <3> & \"fig. 2\"", predicted=1.0,
        measured=(low + high) / 2, interval=(low, high), margin=0.1, reason="one > two",
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
def section(tmp_path):
    image = tmp_path / "a.svg"
    image.write_bytes(SVG)

    def make(name="one", claims=(), tables=(), **more):
        provenance = {"preset": {"runs": 3, "device": "2 x <cpu>", "versions": '{"a": "1"}'}}
        return Section(
            name,
            "Title <b> & more",
            "Author 2020, arXiv 2001.00001 <1>",
            claims=claims,
            figures=[(image, 'Caption "quoted" <i> of $k^-2$')],
            tables=tables,
            **{"provenance": provenance, "seconds": 2.6, **more},
        )

    return make


@pytest.fixture
def read(tmp_path):
    def read(*sections):
        write_page(tmp_path / "report.html", "All <of> & it", sections)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        reader = Reader()
        reader.feed(text)
        reader.close()
        assert reader.open == []
        assert len(set(reader.anchors)) == len(reader.anchors)
        assert {x for x in reader.links if x[0] == "#"} <= {f"#{x}" for x in reader.anchors}
        return text, reader

    return read


@pytest.fixture
def page(section, read):
    return lambda claims, tables=(): read(section(claims=claims, tables=tables))


def _rows(text, start):
    """The cells, without tags, of the rows of the first table after `start`."""
    table = text[text.index(start) :].split("<table")[1].split("</table>")[0]
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in table.split("<tr>")[1:]]
    return [[re.sub("<[^>]*>", "", cell) for cell in row] for row in cells]


def test_the_page_is_valid_and_self_contained(page):
    table = Table("Scores <of>", "a & b", ("", "skill 1"), (("first", "+0.1"), ("rms", "–")))
    text, reader = page(list(CLAIMS.values()), [table])
    assert "Scores &lt;of&gt;" in text
    assert '<tr><td>first</td><td class="number" data-name="skill 1">+0.1</td></tr>' in text
    assert (number(None, ".1f"), number(math.nan, ".1f"), number(0.25, "+.1f")) == (
        "–",
        "–",
        "+0.2",
    )
    assert text.startswith("<!doctype html>")
    assert reader.tags.count("html") == reader.tags.count("body") == reader.tags.count("h1") == 1
    assert not {"script", "iframe", "link", "object", "embed"} & set(reader.tags)
    assert reader.loads
    assert all(load.startswith("data:image/svg+xml;base64,") for load in reader.loads)
    outside = {link for link in reader.links if not link.startswith("#")}
    assert outside == {"https://arxiv.org/abs/2001.00001", "a.svg"}
    assert "url(" not in text
    assert "@import" not in text


def test_the_summary_counts_every_verdict(section, read):
    several = [*CLAIMS.values(), _claim("f", 0.95, 1.05), _claim("g", 2.0, 3.0)]
    text, _ = read(section("one", several), section("two", several[:1], seconds=math.nan))
    header, one, two = _rows(text, "<h3>Summary")
    assert tuple(header) == SUMMARY
    row = dict(zip(header, one, strict=True))
    assert row["system"] == "one"
    assert row["paper"] == "Author 2020, arXiv 2001.00001 &lt;1&gt;"
    assert [row[n] for n in ("claims", "agrees", "disagrees", "inconclusive")] == list("7221")
    assert [row[n] for n in ("out of range", "no verdict", "wall seconds")] == list("113")
    assert two[0] == "two"
    assert two[2:] == ["1", "1", "0", "0", "0", "0", "–"]
    assert "8 claims, agrees 3, disagrees 2" in text
    assert 'Not agreeing: <a href="#one-b">b</a>' in text


def test_a_failed_system_leaves_the_others(section, read):
    failed = Section("two", "Other", "Author 2021", failure="ValueError: <no> luck")
    text, reader = read(section("one", list(CLAIMS.values())), failed)
    rows = _rows(text, "<h3>Summary")
    assert [row[0] for row in rows[1:]] == ["one", "two failed"]
    assert rows[2][2:] == ["0"] * 6 + ["–"]
    assert "failed: ValueError: &lt;no&gt; luck" in text
    assert reader.tags.count("section") == 2
    assert reader.tags.count("figure") == 1


def test_provenance_tells_what_is_shared_once(section, read):
    presets = {
        "a": {"runs": 1, "dtype": "float32", "device": "cpu", "note": ""},
        "b": {"runs": 1, "dtype": "float64", "device": "cpu", "note": ""},
    }
    text, _ = read(section(provenance=presets))
    rows = _rows(text, "How it was made")
    assert rows == [["preset", "runs", "dtype"], ["a", "1", "float32"], ["b", "1", "float64"]]
    assert text.count("<dd>") == 1
    assert "<dt>device</dt><dd><code>cpu</code></dd>" in text


def test_a_figure_has_its_own_size(section, read, tmp_path):
    image = tmp_path / "b.svg"
    image.write_bytes(SVG.replace(b"xmlns", b'width="300.6pt" height="10pt" xmlns'))
    text, _ = read(dataclasses.replace(section(), figures=[(image, "wide")]))
    assert "--width: 401px" in text
    assert "Data (CSV)" not in text
    (tmp_path / "b.csv").touch()
    text, reader = read(dataclasses.replace(section(), figures=[(image, "wide")]))
    assert '<a href="b.csv">Data (CSV)</a>' in text
    assert {"#one-figures", "#one-figure-b"} <= set(reader.links)


def test_every_verdict_has_a_row(page):
    text, reader = page(list(CLAIMS.values()))
    for verdict, claim in CLAIMS.items():
        assert str(claim.verdict) == verdict
        kind = verdict if verdict in ("agrees", "disagrees") else "open"
        assert f'<td class="verdict {kind}" data-name="verdict">{verdict}</td>' in text
        assert f"{verdict} 1" in text
        group = text.partition(f'<details id="one-{verdict.replace(" ", "-")}"')[2]
        assert group.startswith(">" if verdict == "agrees" else " open>")
        assert f'<span id="one-{claim.id}">' in group.partition("</details>")[0]
    assert reader.tags.count("tr") == 2 + 2 * len(CLAIMS) + 2
    assert text.index('id="one-disagrees"') < text.index('id="one-agrees"')


def test_text_is_escaped(page):
    text, reader = page(list(CLAIMS.values()))
    assert "<script>" not in text
    assert "<b>" not in text
    shown = "".join(reader.text)
    for words in (
        "All <of> & it",
        "Title <b> & more",
        "<script>alert('x')</script>",
        'eq. <3> & "fig. 2"',
        "one > two",
        "2 x <cpu>",
    ):
        assert words in shown


def test_deterministic_and_missing_measurements(page):
    exact = _claim("f", 1.0, 1.0, n_seeds=None)
    text, _ = page([exact])
    assert "deterministic" in text
    missing = _claim("g", math.nan, math.nan)
    text, _ = page([missing])
    assert ">deterministic<" not in text
    assert "inconclusive" in text


def test_the_page_says_what_was_simulated(section, read):
    more = {"summary": "Losses fall.", "symbols": {"alpha": "exponent of $N^-alpha$"}}
    text, _ = read(
        section(claims=[dataclasses.replace(CLAIMS["agrees"], margin_fixed="late")], **more)
    )
    assert "<p>Losses fall.</p>" in text
    assert (
        '<dt><math><mi>α</mi></math></dt><dd>exponent of <span class="formula"><math><msup>' in text
    )
    assert "one &gt; two (fixed late)" in text
    text, _ = read(section(claims=[CLAIMS["agrees"]]))
    assert 'alt="Caption &#34;quoted&#34; &lt;i&gt; of k^-2"' in text
    assert "(fixed" not in text  # a claim that does not say when


def test_no_claims(page):
    text, _ = page([])
    assert "0 claims" in text
